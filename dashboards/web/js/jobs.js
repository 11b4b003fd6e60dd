/** The list of jobs, each with its beat. */

import { el, keyed, setText, svg } from "./dom.js";
import { ago, clock, count, fromNs, seconds } from "./format.js";
import { size } from "./state.js";
import { jobState } from "./words.js";

const WIDE = 140;
const HIGH = 30;
/** Stretch of beat in the list, ms. */
export const SPARK_SPAN = 600_000;
/** A young job's beat fills the line from this age on, ms. */
const LEAST_SPAN = 30_000;

/**
 * The view of the job list.
 * @param {Element} list
 * @param {State} state
 * @param {function(string)} select
 */
export function jobList(list, state, select) {
  const views = new Map();
  return (selected) => keyed(list, state.sortedJobs(), views, (job) => job.id, () => row(state, select, () => selected.id));
}

function row(state, select, selected) {
  const name = el("span", { class: "name" });
  const badge = el("span", { class: "badge" });
  const facts = el("span", { class: "facts" });
  const word = el("span", { class: "state" });
  const area = svg("polygon", { class: "area", points: "" });
  const line = svg("polyline", { class: "line", points: "", "vector-effect": "non-scaling-stroke" });
  const spark = svg("svg", { class: "spark", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" }, area, line);
  const figure = el("span", { class: "figure" });
  let id = null;
  const button = el(
    "button",
    { type: "button", class: "job-row", on: { click: () => select(id) } },
    el("span", { class: "head" }, name, badge),
    el("span", { class: "beat-line" }, spark, figure),
    el("span", { class: "foot" }, facts, word),
  );
  return {
    node: el("li", {}, button),
    update(job) {
      ({ id } = job);
      const open = state.openOf(job.id);
      const worst = open.some((incident) => incident.severity === "critical") ? "critical" : open.some((incident) => incident.severity === "warning") ? "warning" : "info";
      setText(name, job.name || job.id);
      button.title = job.id;
      setText(badge, open.length ? count(open.length, "incident") : "");
      badge.dataset.severity = open.length ? worst : "";
      setText(facts, `${count(job.world, "rank")} on ${count(size(job.hosts), "host")}${job.simulated ? " · simulated" : ""}${job.attempt ? ` · ${attempt(job.attempt)}` : ""}`);
      setText(word, stateWords(job, open));
      word.dataset.state = word.textContent === "off the beat" ? "off" : job.state;
      setText(figure, seconds(job.iteration_seconds));
      button.setAttribute("aria-current", String(selected() === job.id));
      const points = sparkPoints(state.beats.get(job.id));
      line.setAttribute("points", points.join(" "));
      area.setAttribute("points", points.length ? [`${points[0].split(",")[0]},${HIGH}`, ...points, `${points.at(-1).split(",")[0]},${HIGH}`].join(" ") : "");
    },
  };
}

/** Attempts are numbered by the second of their start, which people read as a time. */
const attempt = (number) => (number > 1_000_000_000 ? `started ${clock(number * 1000).replace(/:\d\d$/, "")}` : `attempt ${number}`);

function stateWords(job, open) {
  const word = jobState(job, open);
  return job.state === "ended" || job.state === "stalled" ? `${word}, last seen ${ago(fromNs(job.last_seen))}` : word;
}

/** A beat as SVG points: per column the slowest iteration, on a scale from zero so that jitter looks like jitter. */
export function sparkPoints(beat, now = Date.now()) {
  if (!beat || !beat.at.length) return [];
  const columns = new Array(WIDE).fill(0);
  const end = Math.max(now, beat.at.at(-1));
  const span = Math.min(SPARK_SPAN, Math.max(LEAST_SPAN, end - beat.at[0]));
  let top = 0;
  for (let i = beat.at.length - 1; i >= 0 && beat.at[i] >= end - span; i -= 1) {
    const x = Math.min(WIDE - 1, Math.floor(((beat.at[i] - end + span) / span) * WIDE));
    columns[x] = Math.max(columns[x], beat.seconds[i]);
    top = Math.max(top, beat.seconds[i]);
  }
  return columns
    .map((value, x) => (value ? `${x},${(HIGH - (value / (top * 1.15)) * (HIGH - 3)).toFixed(1)}` : null))
    .filter(Boolean);
}
