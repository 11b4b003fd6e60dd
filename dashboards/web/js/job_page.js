/** What a job is made of, on a page of its own: the paths between its hosts (delay matrix) and its communicators. */

import { ApiError, getJson } from "./api.js";
import { el } from "./dom.js";
import { count, fromNs, ranks as rankWords, seconds, timeNode, trim } from "./format.js";
import { incidentAddress, nodeAddress } from "./route.js";
import { faultTitle, jobState } from "./words.js";

/** Hosts of which every pair is a cell; of more, the paths that grew most are a list. */
const CELLS_FOR = 24;
const PATHS_SHOWN = 40;
const GROUPS_SHOWN = 200;
/** Growth of a round trip that is told in full colour. */
const FULL = 10;

export class JobPage {
  /**
   * @param {Element} box where the page goes
   * @param {{state: State, guarded: function(function())}} tools
   */
  constructor(box, tools) {
    this.box = box;
    this.tools = tools;
    this.id = null;
  }

  /** Show the job *id*, or nothing (null). */
  async open(id) {
    this.box.hidden = id === null;
    if (id === this.id && (id === null || this.shown)) return;
    this.id = id;
    this.shown = false;
    this.box.replaceChildren();
    if (id === null) return;
    document.title = `${id} · Offbeat`;
    this.box.append(back(), el("p", { class: "empty", role: "status", text: "Reading the job…" }));
    window.scrollTo(0, 0);
    await this.read();
  }

  /** Whether it goes on; called every few seconds then. */
  get follows() {
    return this.id !== null && this.shown;
  }

  async read() {
    const { id } = this;
    const path = `/jobs/${encodeURIComponent(id)}`;
    try {
      const [job, delays, groups] = await Promise.all([getJson(path), getJson(`${path}/delays`), getJson(`${path}/communicators`)]);
      if (id !== this.id) return;
      this.#show(job, delays, groups.items);
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      if (id === this.id && !this.shown) this.#fail(problem);
      if (problem.status === 401) await this.tools.guarded(() => Promise.reject(problem));
    }
  }

  #fail(problem) {
    const words = problem.status === 404 ? `There is no job ${this.id}.` : `The job could not be read: ${problem.message}.`;
    const again = el("button", { type: "button", text: "Try again", on: { click: () => this.read() } });
    this.box.replaceChildren(back(), el("div", { class: "panel failed" }, el("h1", { text: "No job to show" }), el("p", { class: "error", role: "alert", text: words }), problem.status === 404 ? null : again));
  }

  #show(job, delays, groups) {
    const title = el("h1", { tabindex: "-1", text: job.name || job.id });
    const open = this.tools.state.openOf(job.id);
    const facts = [count(job.world, "rank"), count(job.hosts.length, "host"), `${seconds(job.iteration_seconds)} an iteration`, jobState(job, open)].join(" · ");
    const panel = (name, heading, ...children) => el("section", { class: `panel part ${name}`, "aria-labelledby": `job-${name}` }, el("h2", { id: `job-${name}`, text: heading }), ...children);
    const first = !this.shown;
    this.shown = true;
    this.box.replaceChildren(
      back(),
      el("section", { class: "panel part", "aria-label": "Job" }, title, el("p", { class: "dim" }, `${facts} · last seen `, timeNode(fromNs(job.last_seen))), el("p", {}, el("a", { href: `#job=${encodeURIComponent(job.id)}`, text: "Beat and lateness" }))),
      open.length ? panel("open", "Open incidents", el("ul", { class: "similar" }, ...open.map((incident) => el("li", {}, el("a", { href: incidentAddress(incident.id), text: faultTitle(incident.class) }), el("p", { class: "dim", text: incident.finding.summary }))))) : "",
      panel("delays", "Delay matrix", ...delayNodes(delays)),
      panel("groups", "Communicators", ...groupNodes(groups)),
    );
    if (first) title.focus({ preventScroll: true });
  }
}

/** How many times its usual round trip a path takes now; 1 where the past is not known. */
export const growth = ({ rtt_us, usual_rtt_us }) => (usual_rtt_us ? rtt_us / usual_rtt_us : 1);

function delayNodes(delays) {
  if (!delays.paths.length) return [el("p", { class: "empty", text: "No connection between hosts carries this job now, or none is measured." })];
  const note = el("p", { class: "dim", text: "Round trip of the slowest connection that carries the job, in the last 15 s; below it, how many times what it was in the 75 s before, where it grew. Rows send, columns receive." });
  const named = [...new Set(delays.paths.flatMap((path) => [path.src_host, path.dst_host]))].sort();
  return [note, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Cells, scrollable" }, named.length <= CELLS_FOR ? matrix(named, delays.paths) : worst(delays.paths))];
}

function matrix(named, paths) {
  const cells = new Map(paths.map((path) => [`${path.src_host}\n${path.dst_host}`, path]));
  return el(
    "table",
    { class: "delay" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "from \\ to" }), ...named.map((host) => el("th", { scope: "col" }, hostLink(host))))),
    el("tbody", {}, ...named.map((src) => el("tr", {}, el("th", { scope: "row" }, hostLink(src)), ...named.map((dst) => cell(src, dst, cells.get(`${src}\n${dst}`)))))),
  );
}

function cell(src, dst, path) {
  if (!path) return el("td", { class: "none", text: src === dst ? "" : "–" });
  const more = growth(path);
  const node = el("td", { title: pathWords(path) }, el("span", { text: milliseconds(path.rtt_us) }), more >= 1.5 ? el("b", { text: `${trim(more)} ×` }) : null);
  node.style.setProperty("--grown", String(Math.min(1, Math.max(0, Math.log(more) / Math.log(FULL)))));
  return node;
}

function worst(paths) {
  const shown = [...paths].sort((a, b) => growth(b) - growth(a) || b.rtt_us - a.rtt_us).slice(0, PATHS_SHOWN);
  const heads = ["From", "To", "Now", "Usual", "Times", "Retransmits/s"];
  return el(
    "table",
    { class: "paths" },
    el("caption", { text: `The ${shown.length} of ${count(paths.length, "path")} that grew most` }),
    el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col", text })))),
    el("tbody", {}, ...shown.map((path) => el("tr", {}, el("td", {}, hostLink(path.src_host)), el("td", {}, hostLink(path.dst_host)), ...[milliseconds(path.rtt_us), path.usual_rtt_us === null ? "–" : milliseconds(path.usual_rtt_us), trim(growth(path)), trim(path.retransmits)].map((text) => el("td", { text }))))),
  );
}

function groupNodes(groups) {
  if (!groups.length) return [el("p", { class: "empty", text: "No rank has told of a communicator." })];
  const rows = groups.slice(0, GROUPS_SHOWN).map(({ comm, name, n_ranks, ranks }) => {
    const missing = n_ranks - ranks.length;
    return el("tr", {}, el("td", { text: name || comm }), el("td", { text: String(n_ranks) }), el("td", { text: `${rankWords(ranks, 12)}${missing > 0 ? ` (${missing} did not tell)` : ""}` }));
  });
  return [
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Communicators, scrollable" },
      el("table", { class: "groups" }, el("caption", { text: groups.length > rows.length ? `The ${rows.length} largest of ${groups.length}` : count(groups.length, "communicator") }), el("thead", {}, el("tr", {}, ...["Name", "Ranks", "Which"].map((text) => el("th", { scope: "col", text })))), el("tbody", {}, ...rows)),
    ),
  ];
}

const hostLink = (host) => el("a", { href: nodeAddress(host), text: host });
const milliseconds = (us) => `${trim(us / 1000)} ms`;
const pathWords = (path) => `${path.src_host} to ${path.dst_host}: ${milliseconds(path.rtt_us)}${path.usual_rtt_us === null ? "" : `, usually ${milliseconds(path.usual_rtt_us)}`}; data in flight ${Math.round(100 * path.busy)} % of the time; ${trim(path.retransmits)} retransmits a second; ${count(path.connections, "connection")}`;
const back = () => el("p", { class: "back" }, el("a", { href: "#", text: "← Overview" }));
