/** Logging in: by the one-time code in the address, or by a pasted token. */

import { ApiError, getJson, send } from "./api.js";
import { byId, setText } from "./dom.js";

/** The one-time code of the address, taken out of it so that it stays in no history and no bookmark. */
export function takeCode() {
  const code = new URLSearchParams(location.hash.slice(1)).get("login");
  if (code !== null) history.replaceState(null, "", location.pathname + location.search);
  return code;
}

/** Who we are: {role, …}, or null when nobody. */
export async function whoAmI() {
  try {
    return await getJson("/session");
  } catch (problem) {
    if (problem instanceof ApiError && problem.status === 401) return null;
    throw problem;
  }
}

export const logIn = (secret) => send("POST", "/session", secret);

export const logOut = () => send("DELETE", "/session");

/** Ask for a token until one is taken; resolves with who we are then. */
export function askForToken(message) {
  const form = byId("login");
  const error = byId("login-error");
  byId("board").hidden = true;
  byId("incident").hidden = true;
  byId("node").hidden = true;
  byId("job").hidden = true;
  form.hidden = false;
  setText(error, message ?? "");
  error.hidden = !message;
  byId("token").focus();
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      error.hidden = true;
      try {
        const session = await logIn({ token: byId("token").value.trim() });
        byId("token").value = "";
        form.hidden = true;
        resolve(session);
      } catch (problem) {
        if (!(problem instanceof ApiError)) throw problem;
        setText(error, problem.status === 0 ? "The service cannot be reached. Is offbeat up running?" : problem.status === 401 || problem.status === 403 ? "This token is not known. Tokens start with obt_ and are shown once, when they are made." : problem.message);
        error.hidden = false;
      }
    };
  });
}
