/** Incident cards: what, who, since when, why we think so, what to do. */

import { ApiError, send } from "./api.js";
import { el, keyed, setText } from "./dom.js";
import { count, duration, fromNs, ranks, timeNode, trim } from "./format.js";
import { incidentAddress } from "./route.js";
import { ACTIONS, SEVERITIES, culprits, faultMeaning, faultTitle } from "./words.js";

/**
 * The view of one list of incidents.
 * @param {Element} list
 * @param {string} heading what a card's title is, one below that of the list
 * @param {{mayAct: function(): boolean, hostOf: function(string, number): string, show: function(Object), changed: function(Object)}} tools
 */
export function incidentList(list, heading, tools) {
  const views = new Map();
  return (incidents) => keyed(list, incidents, views, (incident) => incident.id, (incident) => card(incident, heading, tools));
}

function card(first, heading, tools) {
  const severity = el("span", { class: "severity" });
  const title = el("a", { href: incidentAddress(first.id) });
  const name = el("code", { class: "class" });
  const job = el("span", { class: "job" });
  const summary = el("p", { class: "summary" });
  const who = el("ul", { class: "culprits", "aria-label": "Culprit" });
  const when = el("p", { class: "when" });
  const advice = el("p", { class: "advice" });
  const evidence = el("div");
  const more = el("details", {}, el("summary"), evidence);
  const acknowledge = el("button", { type: "button", class: "primary", text: "Acknowledge" });
  const look = el("button", { type: "button", text: "Show on the map" });
  const verdict = el("span", { class: "verdict" });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const node = el(
    "li",
    { class: "card", id: `incident-${first.id}`, tabindex: "-1" },
    el("div", { class: "top" }, severity, el(heading, {}, title), name, job),
    summary,
    who,
    when,
    advice,
    more,
    el("div", { class: "buttons" }, acknowledge, look, verdict),
    error,
  );
  let incident = first;
  let shown = null;

  async function act(path, body) {
    error.hidden = true;
    try {
      const answer = await send("POST", `/incidents/${encodeURIComponent(incident.id)}/${path}`, body);
      if (answer && answer.id) tools.changed(answer);
      return true;
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      error.textContent = problem.status === 403 ? "Your token may only look. An operator token may do this." : `Not done: ${problem.message}.`;
      error.hidden = false;
      return false;
    }
  }

  acknowledge.addEventListener("click", async () => {
    acknowledge.disabled = true;
    await act("acknowledge", {});
    acknowledge.disabled = false;
  });
  look.addEventListener("click", () => tools.show(incident));
  verdictButtons(verdict, (right) => act("feedback", { right, note: "" }));

  function update(next) {
    incident = next;
    const text = JSON.stringify(next) + tools.mayAct() + culprits(next.finding, (rank) => tools.hostOf(next.job, rank));
    if (text === shown) return;
    shown = text;
    const { finding } = next;
    node.dataset.severity = next.severity;
    node.dataset.state = next.state;
    setText(severity, SEVERITIES[next.severity] ?? next.severity);
    setText(title, faultTitle(next.class));
    title.title = faultMeaning(next.class) ?? "";
    setText(name, next.class);
    setText(job, next.job);
    setText(summary, finding.summary);
    who.replaceChildren(...culprits(finding, (rank) => tools.hostOf(next.job, rank)).map((words) => el("li", { text: words })));
    if (!who.children.length) who.append(el("li", { class: "nobody", text: "nobody is named" }));
    when.replaceChildren(...whenWords(next));
    advice.replaceChildren(el("b", { text: `${ACTIONS[finding.advice.action] ?? finding.advice.action}: ` }), finding.advice.why);
    setText(more.firstChild, `Evidence (${finding.evidence.length})`);
    more.hidden = finding.evidence.length === 0;
    evidence.replaceChildren(...evidenceNodes(finding));
    acknowledge.hidden = next.state !== "open" || !tools.mayAct();
    verdict.hidden = !tools.mayAct();
  }
  return { node, update };
}

function verdictButtons(box, tell) {
  const said = el("span", { role: "status" });
  const button = (text, right) =>
    el("button", { type: "button", class: "quiet", text, on: { click: async () => (await tell(right)) && setText(said, "Thank you, noted.") } });
  box.append(el("span", { text: "Was this right?" }), button("Yes", true), button("No", false), said);
}

function whenWords({ opened_at, ended_at, state, acknowledged_by, resolved_by, resolved_why, reopens, finding }) {
  const started = fromNs(finding.started_at ?? opened_at);
  const ended = fromNs(ended_at ?? finding.ended_at);
  const detected = fromNs(finding.detected_at);
  const parts = ended === null ? ["since ", timeNode(started), el("span", { class: "lasting", data: { since: started } })] : ["from ", timeNode(started), " to ", timeNode(ended), ` (${duration(ended - started)})`];
  if (detected !== null && finding.started_at !== null && detected >= started) parts.push(` · found after ${duration(detected - started)}`);
  if (finding.slowdown > 1.005) parts.push(` · ${trim(finding.slowdown)} × slower`);
  parts.push(` · confidence ${Math.round(finding.confidence * 100)} %`);
  if (reopens) parts.push(" · it came back: the same fault was resolved before");
  if (finding.victims.ranks.length) parts.push(` · ${count(finding.victims.ranks.length, "rank")} waiting on it: ${ranks(finding.victims.ranks)}`);
  if (acknowledged_by) parts.push(` · acknowledged by ${acknowledged_by}`);
  else if (state === "recovering") parts.push(" · recovering");
  if (resolved_by) parts.push(` · resolved by ${resolved_by}${resolved_why ? `: ${resolved_why}` : ""}`);
  return parts;
}

function evidenceNodes({ evidence, caused_by }) {
  const items = evidence.map(({ text, data }) => {
    const figures = Object.entries(data ?? {});
    return el(
      "li",
      {},
      text,
      figures.length ? el("dl", {}, ...figures.flatMap(([key, value]) => [el("dt", { text: key }), el("dd", { text: figure(value) })])) : null,
    );
  });
  return [el("ol", {}, ...items), caused_by ? el("p", { text: `Caused by finding ${caused_by}.` }) : null].filter(Boolean);
}

function figure(value) {
  if (typeof value === "number") return Number.isInteger(value) ? value.toLocaleString("en") : trim(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Bring the "for 3 min" words up to date; called once a second. */
export function tickAges(now) {
  for (const node of document.querySelectorAll(".lasting")) setText(node, ` (for ${duration(Math.max(1000, Math.floor((now - Number(node.dataset.since)) / 1000) * 1000)).replace(".0", "")})`);
}
