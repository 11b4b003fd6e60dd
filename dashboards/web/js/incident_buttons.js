/** What a person may do about an incident: acknowledge, end, judge. Ending asks once more, with a reason. */

import { ApiError } from "./api.js";
import { el, setText } from "./dom.js";

const OVER = new Set(["recovered", "resolved"]);

/**
 * @param {{mayAct: function(): boolean, act: function(string, Object): Promise, show: function()}} tools
 * @returns {{node: Element, update: function(Object)}}
 */
export function incidentButtons({ mayAct, act, show }) {
  const acknowledge = el("button", { type: "button", class: "primary", text: "Acknowledge" });
  const resolve = el("button", { type: "button", text: "Resolve…", "aria-expanded": "false" });
  const look = el("button", { type: "button", text: "Show on the map", on: { click: show } });
  const why = el("input", { id: "resolve-why", maxlength: "2000", autocomplete: "off" });
  const confirm = el("button", { type: "submit", class: "primary", text: "Resolve the incident" });
  const cancel = el("button", { type: "button", class: "quiet", text: "Cancel" });
  const form = el("form", { class: "ask", hidden: true }, el("label", { for: "resolve-why", text: "Why it is over, for whoever reads it later" }), why, el("div", { class: "buttons" }, confirm, cancel));
  const note = el("input", { id: "judge-note", maxlength: "2000", autocomplete: "off", placeholder: "what it really was (optional)" });
  const said = el("span", { class: "said", role: "status" });
  const right = el("button", { type: "button", class: "quiet", text: "Right" });
  const wrong = el("button", { type: "button", class: "quiet", text: "Wrong" });
  const judge = el("div", { class: "judge" }, el("label", { for: "judge-note", text: "Was this finding right?" }), note, right, wrong, said);
  const viewer = el("p", { class: "dim", text: "Your token may only look. An operator's token may acknowledge, resolve and judge.", hidden: true });
  const error = el("p", { class: "error", role: "alert", hidden: true });

  async function tell(button, path, body) {
    error.hidden = true;
    button.disabled = true;
    try {
      await act(path, body);
      return true;
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      setText(error, problem.status === 403 ? "Your token may only look. An operator token may do this." : `Not done: ${problem.message}.`);
      error.hidden = false;
      return false;
    } finally {
      button.disabled = false;
    }
  }

  function ask(open) {
    form.hidden = !open;
    resolve.setAttribute("aria-expanded", String(open));
    if (open) why.focus();
    else resolve.focus();
  }

  acknowledge.addEventListener("click", () => tell(acknowledge, "acknowledge", {}));
  resolve.addEventListener("click", () => ask(form.hidden));
  cancel.addEventListener("click", () => ask(false));
  form.addEventListener("keydown", (event) => event.key === "Escape" && ask(false));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await tell(confirm, "resolve", { why: why.value.trim() })) form.hidden = true;
  });
  for (const [button, verdict] of [[right, true], [wrong, false]]) {
    button.addEventListener("click", async () => {
      if (!(await tell(button, "feedback", { right: verdict, note: note.value.trim() }))) return;
      note.value = "";
      setText(said, `Noted: ${verdict ? "right" : "wrong"}.`);
    });
  }

  const node = el("div", { class: "doing" }, el("div", { class: "buttons" }, acknowledge, resolve, look), form, judge, viewer, error);
  function update({ state }) {
    const over = OVER.has(state);
    acknowledge.hidden = state !== "open" || !mayAct();
    resolve.hidden = over || !mayAct();
    if (resolve.hidden) form.hidden = true;
    judge.hidden = !mayAct();
    viewer.hidden = mayAct();
  }
  return { node, update };
}
