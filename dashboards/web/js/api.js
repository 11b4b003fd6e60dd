/** Calls to the service. The session is a cookie that scripts cannot read; nothing secret is kept here. */

const BASE = "api/v1";

/** A refusal or failure; `status` is 0 when the service could not be reached. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(path, { method = "GET", body, accept = "application/json" } = {}) {
  const headers = { Accept: `${accept}, application/problem+json` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  // Pages of other origins cannot send it: the service takes no change without it from a cookie.
  if (method !== "GET") headers["Offbeat-Request"] = "1";
  let answer;
  try {
    answer = await fetch(`${BASE}${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new ApiError(0, "the service cannot be reached");
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new ApiError(answer.status, problem.detail || problem.title || `the service answered ${answer.status}`);
  }
  return answer;
}

export const getJson = async (path) => (await call(path)).json();

export const getBytes = async (path) => (await call(path, { accept: "application/octet-stream" })).arrayBuffer();

export async function send(method, path, body) {
  const answer = await call(path, { method, body });
  return answer.status === 204 ? null : answer.json().catch(() => null);
}

/** All items of a list that comes in pages, up to `most`. */
export async function getAll(path, most = 1000) {
  const items = [];
  let cursor = null;
  do {
    const joint = path.includes("?") ? "&" : "?";
    const page = await getJson(cursor === null ? path : `${path}${joint}cursor=${encodeURIComponent(cursor)}`);
    items.push(...page.items);
    cursor = page.next ?? null;
  } while (cursor !== null && items.length < most);
  return items;
}

export const streamUrl = `${BASE}/incidents/stream`;
