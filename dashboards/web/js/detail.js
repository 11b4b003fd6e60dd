/** One job: its facts, its beat and its lateness map, over a stretch of time that follows now or stands still. */

import { ApiError, getBytes, getJson } from "./api.js";
import { drawBeat } from "./beat.js";
import { byId, el, setText } from "./dom.js";
import { count, fromNs, lateness, seconds, toNs } from "./format.js";
import { HeatMap } from "./heatmap.js";
import { Matrix, decode } from "./matrix.js";
import { jobAddress } from "./route.js";
import { size } from "./state.js";
import { LatenessTable } from "./table.js";
import { jobState } from "./words.js";

/** How often the ranks' hosts are asked for while some are not known, ms; of many ranks the answer is large. */
const ASK_RANKS_EVERY = 5000;
/** Shortest stretch shown, ms. */
const LEAST_SPAN = 30_000;

export class Detail {
  /**
   * @param {State} state
   * @param {function()} heard called whenever the service answered
   */
  constructor(state, heard) {
    this.state = state;
    this.heard = heard;
    this.id = null;
    this.matrix = new Matrix();
    this.fixed = null;
    this.asked = { id: null, at: 0 };
    this.busy = false;
    this.cursor = null;
    const hostOf = (rank) => this.state.hostOf(this.id, rank);
    this.map = new HeatMap(byId("map"), {
      tip: byId("tip"),
      reader: byId("map-read"),
      hostOf,
      onCursor: (at) => {
        this.cursor = at;
        this.#drawBeat();
      },
      onScale: drawLegend,
    });
    this.table = new LatenessTable(hostOf);
    byId("span").addEventListener("change", () => this.#reload());
    byId("follow").addEventListener("click", () => {
      this.fixed = null;
      this.#reload();
    });
    byId("zoom-in").addEventListener("click", () => this.map.zoom(0.5));
    byId("zoom-out").addEventListener("click", () => this.map.zoom(2));
    byId("as-table").addEventListener("click", () => this.#toggleTable());
  }

  get job() {
    return this.state.jobs.get(this.id) ?? null;
  }

  get span() {
    return Number(byId("span").value);
  }

  /** The stretch in view, ms; an ended job's ends with it. */
  get view() {
    const last = this.matrix.windows.at(-1)?.at ?? 0;
    const ended = this.job?.state === "ended" ? Math.max(fromNs(this.job.last_seen), last) : null;
    const until = this.fixed ?? ended ?? Math.max(Date.now(), last);
    const seen = this.job ? fromNs(this.job.first_seen) : 0;
    if (seen <= until - this.span) return { since: until - this.span, until };
    // A young job fills the picture rather than showing the time before its first iterations.
    const first = this.matrix.windows[0] ? this.matrix.windows[0].at - 2 * this.matrix.spacing : seen;
    return { since: Math.min(Math.max(seen, first), until - LEAST_SPAN), until };
  }

  /** Show a job; with a time, show what was around then. */
  async select(id, at = null) {
    this.id = id;
    const now = Date.now();
    this.fixed = at !== null && now - at > this.span * 0.8 ? Math.min(now, at + this.span / 2) : null;
    await this.#reload();
  }

  async #reload() {
    this.matrix = new Matrix();
    this.wanted = `${this.id} ${this.span} ${this.fixed}`;
    this.state.dropBeats(this.id);
    byId("follow").hidden = this.fixed === null;
    this.draw();
    await Promise.all([this.#readBeat(), this.read()]);
    this.draw();
  }

  async #readRanks() {
    const { id } = this;
    if (this.asked.id === id && Date.now() - this.asked.at < ASK_RANKS_EVERY) return;
    this.asked = { id, at: Date.now() };
    const job = await this.#ask(() => getJson(`/jobs/${encodeURIComponent(id)}`));
    if (job) this.state.setRanks(id, job.ranks);
  }

  async #readBeat() {
    const { id, view } = this;
    const answer = await this.#ask(() => getJson(`/jobs/${encodeURIComponent(id)}/beat?since=${toNs(view.since)}`));
    if (answer && id === this.id) this.state.addBeats(id, answer.items);
  }

  /** Read the windows that are missing; the last few again, since late records still change them. */
  async read() {
    if (!this.id || this.busy) return;
    if (!this.state.placed(this.id)) await this.#readRanks();
    const { matrix, view, wanted } = this;
    const room = Matrix.capacity(this.job?.world ?? 1) * matrix.spacing;
    const last = matrix.windows.at(-1)?.at;
    const since = Math.max(view.since, view.until - room, last === undefined ? 0 : last - 2 * matrix.spacing);
    this.busy = true;
    const buffer = await this.#ask(() => getBytes(`/jobs/${encodeURIComponent(this.id)}/lateness?since=${toNs(since)}${this.fixed ? `&until=${toNs(this.fixed)}` : ""}`));
    this.busy = false;
    if (wanted !== this.wanted) {
      await this.read();
      return;
    }
    if (!buffer) return;
    matrix.merge(decode(buffer));
    matrix.trim(view.since - 2 * matrix.spacing);
  }

  /** Call the service; a refusal is shown where the map would be, a silence by the page's head. */
  async #ask(question) {
    try {
      const answer = await question();
      this.heard();
      return answer;
    } catch (problem) {
      if (!(problem instanceof ApiError) && !(problem instanceof RangeError)) throw problem;
      return null;
    }
  }

  draw() {
    const { job, view, matrix } = this;
    byId("detail").hidden = job === null;
    if (!job) return;
    setText(byId("detail-title"), job.name || job.id);
    byId("job-link").href = jobAddress(job.id);
    byId("facts").replaceChildren(...this.#facts(job));
    const known = matrix.ranks.length > 0 && matrix.windows.some((window) => window.at >= view.since && window.at <= view.until);
    byId("no-lateness").hidden = known;
    byId("map-box").hidden = !known || !byId("lateness-table").hidden;
    byId("legend").hidden = byId("map-box").hidden;
    setText(byId("no-lateness"), this.#whyEmpty(job));
    this.#drawBeat();
    if (!known) return;
    this.map.show({ matrix, view, iteration: job.iteration_seconds ?? null, marks: this.#marks() });
    this.table.show(matrix, view);
  }

  #drawBeat() {
    const words = drawBeat(byId("beat"), this.state.beats.get(this.id), this.view, this.state.incidentsOf(this.id), this.cursor);
    setText(byId("beat-words"), words);
  }

  #marks() {
    const marks = new Map();
    for (const { severity, finding } of this.state.openOf(this.id)) {
      for (const rank of finding.culprits.ranks) if (marks.get(rank) !== "critical") marks.set(rank, severity);
      for (const [rank, host] of finding.culprits.ranks.length ? [] : (this.state.hosts.get(this.id) ?? [])) if (finding.culprits.hosts.includes(host)) marks.set(rank, severity);
    }
    return marks;
  }

  #facts(job) {
    const parts = [count(job.world, "rank"), count(size(job.hosts), "host"), `${seconds(job.iteration_seconds)} an iteration`, jobState(job, this.state.openOf(job.id))];
    const late = this.map.data?.matrix === this.matrix ? this.map.latest() : null;
    if (late) {
      const { ranks, windows } = this.matrix;
      parts.push(`most late now: rank ${ranks[late.place]}, ${lateness(windows[late.window].values[late.place])}`);
    }
    return parts.flatMap((text, i) => (i ? [el("span", { class: "sep", "aria-hidden": "true", text: "·" }), el("span", { text })] : [el("span", { text })]));
  }

  #whyEmpty(job) {
    if (job.state === "learning") return "The beat is being learned: lateness shows once a few iterations were seen.";
    if (job.state === "stalled") return "No collective was completed in this stretch, so there is no lateness to show. The incidents above say who is waited for.";
    return "No lateness in this stretch. Choose a longer one, or check that all agents report: offbeat status.";
  }

  #toggleTable() {
    const box = byId("lateness-table");
    box.hidden = !box.hidden;
    byId("zoom").hidden = !box.hidden;
    byId("as-table").setAttribute("aria-pressed", String(!box.hidden));
    setText(byId("as-table"), box.hidden ? "As table" : "As picture");
    this.draw();
  }
}

/** Width of one word below the colours, CSS pixels. */
const TICK_ROOM = 54;

function drawLegend(scale, colours) {
  const bar = byId("legend-bar");
  const text = `${scale.top} ${scale.knee} ${colours[1]} ${bar.clientWidth}`;
  if (bar.dataset.drawn === text) return;
  bar.dataset.drawn = text;
  const pen = bar.getContext("2d");
  const image = pen.createImageData(256, 1);
  const pixels = new Uint32Array(image.data.buffer);
  for (let x = 0; x < 256; x += 1) pixels[x] = colours[Math.max(1, x)];
  pen.putImageData(image, 0, 0);
  byId("legend-ticks").replaceChildren(
    ...scale.ticks(TICK_ROOM / Math.max(1, bar.clientWidth)).map((value) => {
      const tick = el("span", { text: lateness(value) });
      tick.style.left = `${scale.share(value) * 100}%`;
      return tick;
    }),
  );
}
