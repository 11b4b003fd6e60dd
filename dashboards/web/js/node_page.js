/** One host on a page of its own: its ranks and incidents, and GPU, NIC and kernel on one axis of time. */

import { ApiError, getJson } from "./api.js";
import { gutter } from "./axis.js";
import { el, setText } from "./dom.js";
import { clock, count, fromNs, ranks as rankWords, timeNode, toNs } from "./format.js";
import { charts, drawChart, drawStrip, moves, quantity } from "./node_charts.js";
import { incidentAddress } from "./route.js";
import { faultTitle } from "./words.js";

const SPANS = [[300_000, "5 minutes"], [900_000, "15 minutes"], [3_600_000, "hour"], [21_600_000, "6 hours"]];
const EVENTS_SHOWN = 50;

export class NodePage {
  /**
   * @param {Element} box where the page goes
   * @param {{state: State, guarded: function(function())}} tools
   */
  constructor(box, tools) {
    this.box = box;
    this.tools = tools;
    this.id = null;
    this.cursor = null;
    new ResizeObserver(() => this.redraw()).observe(box);
  }

  /** Show the host *id* around the time *at* (ms; null for now), or nothing. */
  async open(id, at = null) {
    this.box.hidden = id === null;
    if (id === this.id && at === this.at && (id === null || this.found)) return;
    Object.assign(this, { id, at, found: null, nodes: null, cursor: null, span: 900_000 });
    this.box.replaceChildren();
    if (id === null) return;
    document.title = `${id} · Offbeat`;
    this.box.append(back(), el("p", { class: "empty", role: "status", text: "Reading what the host measured…" }));
    window.scrollTo(0, 0);
    await this.read();
  }

  /** Read and draw; called again every few seconds while the page shows now. */
  async read() {
    const { id, at, span } = this;
    if (id === null) return;
    try {
      const host = encodeURIComponent(id);
      const node = await getJson(`/nodes/${host}`);
      const until = at === null ? fromNs(node.last_seen) + 1000 : Math.min(at + span / 2, Date.now());
      const found = await getJson(`/nodes/${host}/series?since=${toNs(until - span)}&until=${toNs(until)}`);
      if (id !== this.id || span !== this.span) return;
      this.node = node;
      this.found = { ...found, charts: charts(found.series) };
      if (!this.nodes) this.#build();
      this.#show();
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      if (id === this.id && !this.found) this.#fail(problem);
      if (problem.status === 401) await this.tools.guarded(() => Promise.reject(problem));
    }
  }

  /** Whether it shows now, and so goes on. */
  get follows() {
    return this.id !== null && this.at === null && this.found !== null;
  }

  #fail(problem) {
    const words = problem.status === 404 ? `No agent of a host ${this.id} was heard.` : `The host could not be read: ${problem.message}.`;
    const again = el("button", { type: "button", text: "Try again", on: { click: () => this.read() } });
    this.box.replaceChildren(back(), el("div", { class: "panel failed" }, el("h1", { text: "No host to show" }), el("p", { class: "error", role: "alert", text: words }), problem.status === 404 ? null : again));
  }

  #build() {
    const n = (this.nodes = {
      title: el("h1", { tabindex: "-1", text: this.id }),
      facts: el("p", { class: "dim" }),
      conflict: el("p", { class: "error", role: "alert", hidden: true }),
      incidents: el("ul", { class: "similar" }),
      span: el("select", { id: "node-span" }, ...SPANS.map(([ms, text]) => el("option", { value: ms, text, selected: ms === this.span }))),
      device: el("select", { id: "node-device" }),
      read: el("p", { class: "dim reading", "aria-live": "polite" }),
      strip: el("canvas", { class: "strip", role: "img", "aria-label": "Events over time; the list below has them in words" }),
      charts: el("div", { class: "node-charts" }),
      still: el("dl", { class: "still" }),
      events: el("ul", { class: "events" }),
    });
    n.span.addEventListener("change", () => {
      this.span = Number(n.span.value);
      this.read();
    });
    n.device.addEventListener("change", () => this.#show());
    this.views = new Map();
    const panel = (name, title, ...children) => el("section", { class: `panel part ${name}`, "aria-labelledby": `node-${name}` }, el("h2", { id: `node-${name}`, text: title }), ...children);
    const controls = el("div", { class: "controls" }, el("label", {}, "Show the last ", n.span), el("label", {}, "Device ", n.device), n.read);
    this.box.replaceChildren(
      back(),
      el("section", { class: "panel part", "aria-label": "Host" }, n.title, n.facts, n.conflict),
      panel("found", "Incidents that name it", n.incidents),
      panel("measured", "Measured", controls, n.strip, n.charts, n.still),
      panel("told", "Said by kernel and devices", n.events),
    );
    n.title.focus({ preventScroll: true });
    const follow = (event) => this.#point(event);
    n.charts.addEventListener("pointermove", follow);
    n.strip.addEventListener("pointermove", follow);
    n.charts.addEventListener("pointerleave", () => this.#point(null));
  }

  #show() {
    const { nodes: n, node, found } = this;
    const jobs = Object.entries(node.jobs).map(([job, here]) => `${job}: ${here.length === 1 ? "rank" : "ranks"} ${rankWords(here)}`);
    n.facts.replaceChildren(jobs.length ? `${jobs.join("; ")} · ` : "no ranks seen alive · ", "last heard ", timeNode(fromNs(node.last_seen)), node.addresses.length ? ` · ${node.addresses.join(", ")}` : "");
    n.conflict.hidden = node.conflict === null;
    if (node.conflict) setText(n.conflict, `Two agents report under this name; one is refused since ${clock(fromNs(node.conflict.at))}.`);
    this.#showIncidents();
    const devices = [...new Set(found.series.filter((each) => each.device_id).map((each) => `${each.device_kind} ${each.device_id}`))];
    const chosen = n.device.value;
    n.device.replaceChildren(el("option", { value: "", text: "all" }), ...devices.map((name) => el("option", { value: name, text: name, selected: name === chosen })));
    const shown = found.events.slice(-EVENTS_SHOWN).reverse();
    n.events.replaceChildren(...(shown.length ? shown.map(eventNode) : [el("li", { class: "empty", text: "Nothing in this stretch." })]));
    if (found.events.length > shown.length) n.events.append(el("li", { class: "dim", text: `and ${found.events.length - shown.length} earlier` }));
    this.#layOut();
    this.redraw();
  }

  #showIncidents() {
    const { nodes: n, id } = this;
    const named = [...this.tools.state.incidents.values()].filter(({ finding }) => finding.culprits.hosts.includes(id) || finding.culprits.devices.some((device) => device.host === id));
    named.sort((a, b) => b.opened_at - a.opened_at);
    n.incidents.replaceChildren(
      ...named.slice(0, 8).map((incident) => el("li", {}, el("a", { href: incidentAddress(incident.id), text: `${faultTitle(incident.class)}: ${incident.job}` }), el("p", { class: "dim" }, `${incident.state} · `, timeNode(fromNs(incident.finding.started_at ?? incident.opened_at))))),
    );
    if (!named.length) n.incidents.append(el("li", { class: "empty", text: "None of the open and the lately ended." }));
  }

  /** The charts of the chosen device's kind; what never moved is told as a figure. */
  #layOut() {
    const { nodes: n, found } = this;
    const kind = n.device.value.split(" ")[0];
    const wanted = found.charts.filter((chart) => kind === "" || chart.kind === kind);
    const moving = wanted.filter(moves);
    const views = moving.map((chart) => {
      const key = `${chart.kind}/${chart.metric}`;
      if (!this.views.has(key)) this.views.set(key, chartNode(chart));
      return [chart, this.views.get(key)];
    });
    n.charts.replaceChildren(...views.map(([, view]) => view.node));
    this.drawn = views;
    const still = wanted.filter((chart) => !moving.includes(chart));
    n.still.replaceChildren(...still.flatMap(({ kind: of, metric, perSecond, lines }) => [el("dt", { text: metricWords(of, metric) }), el("dd", { text: quantity(lines[0].value.find((value) => value !== null), metric, perSecond) })]));
    if (!wanted.length) n.charts.replaceChildren(el("p", { class: "empty", text: "Nothing was measured in this stretch, or it is no longer kept." }));
  }

  #point(event) {
    const { width, left: edge } = this.nodes.strip.getBoundingClientRect();
    const { left, right } = gutter(width);
    const share = event ? (event.clientX - edge - left) / (width - left - right) : -1;
    const view = this.#view;
    this.cursor = share < 0 || share > 1 ? null : view.since + share * (view.until - view.since);
    setText(this.nodes.read, this.cursor === null ? "" : clock(this.cursor));
    this.redraw();
  }

  get #view() {
    return { since: fromNs(this.found.since), until: fromNs(this.found.until) };
  }

  redraw() {
    if (!this.nodes || !this.found || this.box.hidden) return;
    const chosen = this.nodes.device.value.split(" ").slice(1).join(" ");
    drawStrip(this.nodes.strip, this.found.events, this.#view, this.cursor);
    for (const [chart, view] of this.drawn) setText(view.words, `${count(chart.lines.length, "device")}, ${drawChart(view.canvas, chart, this.#view, chosen, this.cursor)}`);
  }
}

const back = () => el("p", { class: "back" }, el("a", { href: "#", text: "← Overview" }));

const metricWords = (kind, metric) => `${kind} ${metric.startsWith(`${kind}_`) ? metric.slice(kind.length + 1) : metric}`.replace(/_(total|bytes|bps|hz|celsius|watts|ratio|seconds)$/, "").replaceAll("_", " ");

function chartNode({ kind, metric }) {
  const words = el("span", { class: "unit" });
  const canvas = el("canvas", { role: "img", "aria-label": metricWords(kind, metric) });
  return { node: el("div", { class: "node-chart" }, el("h3", {}, metricWords(kind, metric), words), canvas), canvas, words };
}

function eventNode({ at, kind, code, device_kind, device_id, rank, message }) {
  const where = [device_kind && device_id ? `${device_kind} ${device_id}` : device_kind, rank === null ? null : `rank ${rank}`].filter(Boolean).join(", ");
  return el("li", {}, timeNode(fromNs(at)), el("div", {}, el("b", { text: `${kind}${code === null ? "" : ` ${code}`}` }), where ? ` · ${where}` : "", message ? el("p", { class: "dim", text: message }) : null));
}
