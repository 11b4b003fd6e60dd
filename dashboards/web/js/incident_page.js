/** One incident on a page of its own: the verdict, what to do, whom it holds up, and why we think so. */

import { ApiError, getBytes, getJson, send } from "./api.js";
import { el, setText } from "./dom.js";
import { duration, fromNs, timeNode, toNs, trim } from "./format.js";
import { drawBeatAround, drawLateness, series, stretch, timelineAddress } from "./incident_charts.js";
import { accuracyWords, costNodes, evidenceNodes, historyNodes, hostLinks, similarNodes, victimNodes } from "./incident_parts.js";
import { incidentButtons } from "./incident_buttons.js";
import { decode } from "./matrix.js";
import { ACTIONS, SEVERITIES, culprits, faultAdvice, faultMeaning, faultTitle, runbook } from "./words.js";

const SIMILAR_READ = 50;

export class IncidentPage {
  /**
   * @param {Element} box where the page goes
   * @param {{state: State, changed: function(Object), show: function(Object), guarded: function(function())}} tools
   */
  constructor(box, tools) {
    this.box = box;
    this.tools = tools;
    this.id = null;
    this.nodes = null;
    this.incident = null;
    new ResizeObserver(() => this.#drawCharts()).observe(box);
  }

  /** Show the incident *id*, or nothing (null). */
  async open(id) {
    this.box.hidden = id === null;
    if (id === this.id && (id === null || this.incident)) return;
    this.id = id;
    this.nodes = null;
    this.incident = null;
    this.revision = null;
    this.ranks = new Map();
    this.beat = null;
    this.lateness = null;
    this.box.replaceChildren();
    if (id === null) return;
    this.box.append(back(), el("p", { class: "empty", role: "status", text: "Reading the incident…" }));
    window.scrollTo(0, 0);
    await this.#read();
  }

  async #read() {
    const { id } = this;
    try {
      const incident = this.tools.state.incidents.get(id) ?? (await getJson(`/incidents/${encodeURIComponent(id)}`));
      if (id !== this.id) return;
      this.#build();
      this.update(incident);
      this.nodes.title.focus({ preventScroll: true });
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      if (id === this.id) this.#fail(problem);
      if (problem.status === 401) await this.tools.guarded(() => Promise.reject(problem));
    }
  }

  #fail(problem) {
    const words = problem.status === 404 ? `There is no incident ${this.id}. Incidents are kept with their job; this one may be of another service.` : `The incident could not be read: ${problem.message}.`;
    const again = el("button", { type: "button", text: "Try again", on: { click: () => this.#read() } });
    this.box.replaceChildren(back(), el("div", { class: "panel failed" }, el("h1", { text: "No incident to show" }), el("p", { class: "error", role: "alert", text: words }), problem.status === 404 ? null : again));
  }

  #build() {
    const part = (name, title, ...children) => el("section", { class: `panel part ${name}`, "aria-labelledby": `part-${name}` }, el("h2", { id: `part-${name}`, text: title }), ...children);
    const n = (this.nodes = {
      severity: el("span", { class: "severity" }),
      title: el("h1", { tabindex: "-1" }),
      name: el("code", { class: "class" }),
      status: el("span", { class: "status" }),
      verdict: el("p", { class: "verdict-line" }),
      who: el("ul", { class: "culprits", "aria-label": "Culprit" }),
      when: el("p", { class: "when" }),
      advice: el("p", { class: "advice" }),
      usually: el("p", { class: "dim" }),
      runbook: el("a", { class: "runbook-link" }),
      accuracy: el("p", { class: "dim accuracy", text: "\u00a0" }),
      cost: el("div"),
      evidence: el("div"),
      beat: el("canvas", { class: "beat", role: "img", "aria-labelledby": "around-beat" }),
      beatWords: el("p", { class: "dim chart-words", id: "around-beat", text: "Reading…" }),
      late: el("canvas", { class: "late", role: "img", "aria-labelledby": "around-late" }),
      lateWords: el("p", { class: "dim chart-words", id: "around-late", text: "Reading…" }),
      hosts: el("p", { class: "dim" }),
      timeline: el("a", { class: "dim", download: "", text: "Timeline for Perfetto" }),
      victims: el("div"),
      history: el("ol", { class: "history" }, el("li", { class: "empty", text: "Reading…" })),
      similar: el("ul", { class: "similar" }, el("li", { class: "empty", text: "Reading…" })),
    });
    this.buttons = incidentButtons({
      mayAct: () => this.tools.state.mayAct,
      act: (path, body) => this.#act(path, body),
      show: () => this.tools.show(this.incident),
    });
    n.head = el("section", { class: "panel card head", "aria-label": "Verdict" }, el("div", { class: "top" }, n.severity, n.title, n.name, n.status), n.verdict, n.who, n.when);
    n.costPart = part("cost", "What it costs", n.cost);
    this.box.replaceChildren(
      back(),
      n.head,
      part("todo", "What to do", n.advice, n.usually, n.runbook, this.buttons.node, n.accuracy),
      el(
        "div",
        { class: "columns" },
        el("div", { class: "column" }, part("why", "Evidence", n.evidence), part("around", "Around that time", el("h3", { text: "Beat" }), n.beat, n.beatWords, el("h3", { text: "Lateness" }), n.late, n.lateWords, n.hosts, n.timeline)),
        el("div", { class: "column" }, n.costPart, part("victims", "Victims", n.victims), part("life", "History", n.history), part("alike", "Similar incidents", n.similar)),
      ),
    );
  }

  /** Take the incident as it is now; what hangs on it is read again when it changed. */
  update(incident) {
    if (incident.id !== this.id || !this.nodes) return;
    this.incident = incident;
    const { nodes: n } = this;
    const { finding } = incident;
    n.head.dataset.severity = incident.severity;
    n.head.dataset.state = incident.state;
    setText(n.severity, SEVERITIES[incident.severity] ?? incident.severity);
    setText(n.title, faultTitle(incident.class));
    n.title.title = faultMeaning(incident.class) ?? "";
    setText(n.name, incident.class);
    setText(n.status, `${incident.state} · job ${incident.job}`);
    setText(n.verdict, finding.summary);
    n.when.replaceChildren(...whenWords(incident));
    n.advice.replaceChildren(el("b", { text: `${ACTIONS[finding.advice.action] ?? finding.advice.action}: ` }), finding.advice.why);
    setText(n.usually, faultAdvice(incident.class) ?? "");
    setText(n.runbook, `Runbook: ${incident.class}`);
    n.runbook.href = runbook(incident.class);
    n.timeline.href = timelineAddress(incident);
    const cost = costNodes(finding);
    n.costPart.hidden = cost.length === 0;
    n.cost.replaceChildren(...cost);
    this.#keepOpen(n.evidence, evidenceNodes(finding));
    this.buttons.update(incident);
    this.#drawPlaces();
    document.title = `${faultTitle(incident.class)}: ${incident.job} · Offbeat`;
    if (this.revision === incident.revision) return;
    this.revision = incident.revision;
    this.tools.guarded(() => this.#readAround());
  }

  /** What depends on where ranks run, which may be known later. */
  #drawPlaces() {
    const { nodes: n, incident } = this;
    const hostOf = (rank) => this.ranks.get(rank) ?? this.tools.state.hostOf(incident.job, rank);
    const who = culprits(incident.finding, hostOf);
    n.who.replaceChildren(...(who.length ? who.map((words) => el("li", { text: words })) : [el("li", { class: "nobody", text: "nobody is named" })]));
    n.hosts.replaceChildren(...hostLinks(incident, hostOf));
    n.victims.replaceChildren(...victimNodes(incident.finding, hostOf));
  }

  /** Put new nodes in place of old ones; details that a person opened stay open. */
  #keepOpen(box, nodes) {
    const opened = [...box.querySelectorAll("details")].map((details) => details.open);
    box.replaceChildren(...nodes);
    box.querySelectorAll("details").forEach((details, i) => {
      details.open = opened[i] ?? false;
    });
  }

  async #readAround() {
    const { id, incident } = this;
    const [history, others, accuracy, detail] = await Promise.all([
      getJson(`/incidents/${encodeURIComponent(id)}/history`).catch(nothing),
      getJson(`/incidents?class=${encodeURIComponent(incident.class)}&limit=${SIMILAR_READ}`).catch(nothing),
      getJson("/accuracy").catch(nothing),
      getJson(`/jobs/${encodeURIComponent(incident.job)}`).catch(nothing),
      this.#readCharts(),
    ]);
    if (id !== this.id) return;
    const { nodes: n } = this;
    for (const { rank, host } of detail?.ranks ?? []) if (host) this.ranks.set(rank, host);
    const lost = el("li", { class: "empty", text: "It could not be read." });
    n.history.replaceChildren(...(history ? historyNodes(history.items) : [lost.cloneNode(true)]));
    const similar = others ? similarNodes(incident, others.items, (of, rank) => (of === incident.job ? (this.ranks.get(rank) ?? "") : this.tools.state.hostOf(of, rank))) : [lost];
    n.similar.replaceChildren(...(similar.length ? similar : [el("li", { class: "empty", text: "No other of this class." })]));
    setText(n.accuracy, accuracy ? accuracyWords(accuracy.items, incident.class) : "\u00a0");
    this.#drawPlaces();
    this.#drawCharts();
  }

  async #readCharts() {
    const { id, incident } = this;
    const view = stretch(incident);
    const range = `since=${toNs(view.since)}&until=${toNs(view.until)}`;
    const job = encodeURIComponent(incident.job);
    const [beat, lateness] = await Promise.all([
      getJson(`/jobs/${job}/beat?${range}`).catch(nothing),
      getBytes(`/jobs/${job}/lateness?${range}`).then(decode).catch(nothing),
    ]);
    if (id !== this.id) return;
    this.view = view;
    this.beat = beat?.items ?? [];
    this.lateness = lateness;
  }

  /** Read what grows while the incident lasts; called every few seconds. */
  async follow() {
    if (!this.incident || this.beat === null || (this.incident.ended_at ?? this.incident.finding.ended_at) !== null) return;
    await this.#readCharts();
    this.#drawCharts();
  }

  #drawCharts() {
    const { nodes: n, incident, view } = this;
    if (!n || !incident || this.beat === null) return;
    setText(n.beatWords, drawBeatAround(n.beat, this.beat, incident, view));
    const who = this.#accused();
    const points = this.lateness ? series(this.lateness, who) : [];
    n.late.hidden = points.length === 0;
    setText(n.lateWords, points.length ? drawLateness(n.late, points, incident, who, view) : "No lateness is kept of that time.");
  }

  /** The ranks accused: by themselves, or as all of an accused host's, or as the sender of an accused link. */
  #accused() {
    const { ranks, hosts, links, devices } = this.incident.finding.culprits;
    if (ranks.length) return new Set(ranks);
    const named = new Set([...hosts, ...devices.map((device) => device.host)]);
    const there = [...this.ranks].filter(([, host]) => named.has(host)).map(([rank]) => rank);
    return new Set(there.length ? there : links.map((link) => link.src_rank).filter((rank) => rank !== null));
  }

  async #act(path, body) {
    const answer = await send("POST", `/incidents/${encodeURIComponent(this.id)}/${path}`, body);
    if (answer?.id) this.tools.changed(answer);
    else await this.#readAround();
  }

  /** The colours of the page changed. */
  redraw() {
    this.#drawCharts();
  }
}

/** A refusal means that there is nothing to show; a lost session is told further up. */
function nothing(problem) {
  if (!(problem instanceof ApiError || problem instanceof RangeError) || problem.status === 401) throw problem;
  return null;
}

const back = () => el("p", { class: "back" }, el("a", { href: "#", text: "← All incidents" }));

function whenWords({ opened_at, ended_at, reopens, finding }) {
  const started = fromNs(finding.started_at ?? opened_at);
  const ended = fromNs(ended_at ?? finding.ended_at);
  const detected = fromNs(finding.detected_at);
  const parts = ended === null ? ["since ", timeNode(started), el("span", { class: "lasting", data: { since: started } })] : ["from ", timeNode(started), " to ", timeNode(ended), ` (${duration(ended - started)})`];
  if (detected !== null && finding.started_at !== null && detected >= started) parts.push(` · found after ${duration(detected - started)}`);
  if (finding.slowdown > 1.005) parts.push(` · ${trim(finding.slowdown)} × slower`);
  parts.push(` · confidence ${Math.round(finding.confidence * 100)} %`);
  if (reopens) parts.push(" · it came back: ", el("a", { href: `#/incidents/${encodeURIComponent(reopens)}`, text: "the one before" }));
  return parts;
}
