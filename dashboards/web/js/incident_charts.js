/** Two small pictures of the time around an incident: the job's beat, and how late the accused ranks were beside the others. */

import { fit, gutter, ink, timeTicks } from "./axis.js";
import { drawBeat } from "./beat.js";
import { fromNs, lateness, ranks as rankWords, toNs } from "./format.js";

const HEIGHT = 132;
const TOP = 10;
const BOTTOM = 22;
/** Shown before the beginning and after the end, ms; without it there is no healthy time to compare with. */
const MARGIN = 120_000;
/** Longest stretch shown, ms; of an incident that lasts for days the beginning is what tells. */
const LONGEST = 1_800_000;

/** The stretch of time to show around an incident, ms. */
export function stretch({ opened_at, ended_at, finding }, now = Date.now()) {
  const started = fromNs(finding.started_at ?? opened_at);
  const ended = fromNs(ended_at ?? finding.ended_at) ?? now;
  const since = started - MARGIN;
  return { since, until: Math.max(since + 60_000, Math.min(now, ended + MARGIN, since + LONGEST)) };
}

/** Where the operations around the beginning are, as `offbeat export --incident` asks for them. */
export function timelineAddress({ job, opened_at, finding }) {
  const started = fromNs(finding.started_at ?? opened_at);
  return `api/v1/jobs/${encodeURIComponent(job)}/timeline?format=perfetto&since=${toNs(started - 20_000)}&until=${toNs(started + 10_000)}`;
}

/** The beat, as on the overview; returns it in words. */
export const drawBeatAround = (canvas, points, incident, view) =>
  drawBeat(canvas, { at: points.map((point) => fromNs(point.at)), seconds: points.map((point) => point.iteration_seconds) }, view, [incident], null);

/**
 * The lateness of the accused ranks (the latest of them) and of the others (their median), window by window.
 * @param {{times: number[], ranks: Int32Array, values: Float32Array}} block as `matrix.decode` returns it
 * @param {Set<number>} accused empty where nobody is
 */
export function series({ times, ranks, values }, accused) {
  return times.map((at, row) => {
    const line = values.subarray(row * ranks.length, (row + 1) * ranks.length);
    let worst = NaN;
    const others = [];
    line.forEach((value, i) => {
      if (Number.isNaN(value)) return;
      if (accused.size === 0 || accused.has(ranks[i])) worst = Number.isNaN(worst) ? value : Math.max(worst, value);
      if (!accused.has(ranks[i])) others.push(value);
    });
    others.sort((a, b) => a - b);
    return { at, accused: worst, others: others.length ? others[others.length >> 1] : NaN };
  });
}

/**
 * Draw the series of `series`. Lines differ by dashes and names besides colour.
 * @returns {string} what the picture shows, in words
 */
export function drawLateness(canvas, points, incident, accused, view) {
  const sheet = fit(canvas, HEIGHT);
  if (!sheet) return "";
  const { pen, width } = sheet;
  const colours = ink();
  const { left, right } = gutter(width);
  const plot = width - left - right;
  const top = Math.max(1, ...points.flatMap((point) => [point.accused, point.others]).filter((value) => !Number.isNaN(value))) * 1.12;
  const x = (at) => left + ((at - view.since) / (view.until - view.since)) * plot;
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  axes(pen, { width, left, plot, top, view, colours, x, y });
  shade(pen, incident, view, colours, x);
  const who = accused.size ? `rank${accused.size === 1 ? "" : "s"} ${rankWords([...accused], 3)}` : "latest rank";
  line(pen, points, "others", x, y, { colour: colours.text, dash: [5, 4], wide: 1.4 });
  line(pen, points, "accused", x, y, { colour: colours[incident.severity] ?? colours.beat, dash: [], wide: 2 });
  const worst = points.reduce((most, point) => (point.accused > most ? point.accused : most), 0);
  const usual = points.map((point) => point.others).filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  return `Solid: ${who}, up to ${lateness(worst)}. Dashed: the median of the others${usual.length ? `, ${lateness(usual[usual.length >> 1])}` : ""}.`;
}

function axes(pen, { width, left, plot, top, view, colours, x, y }) {
  pen.font = colours.font;
  pen.strokeStyle = colours.line;
  pen.fillStyle = colours.text;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const value of [0, top / 2.24, top / 1.12]) {
    pen.beginPath();
    pen.moveTo(left, Math.round(y(value)) + 0.5);
    pen.lineTo(left + plot, Math.round(y(value)) + 0.5);
    pen.stroke();
    pen.fillText(value === 0 ? "0" : lateness(value), left - 8, y(value));
  }
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  for (const { at, text } of timeTicks(view.since, view.until, width)) if (x(at) > left + 20 && x(at) < left + plot - 20) pen.fillText(text, x(at), HEIGHT - 5);
}

function shade(pen, { severity, opened_at, ended_at, finding }, view, colours, x) {
  const from = fromNs(finding.started_at ?? opened_at);
  const to = Math.min(view.until, fromNs(ended_at ?? finding.ended_at) ?? view.until);
  pen.fillStyle = colours[severity] ?? colours.info;
  pen.globalAlpha = 0.14;
  pen.fillRect(x(from), TOP, Math.max(2, x(to) - x(from)), HEIGHT - TOP - BOTTOM);
  pen.globalAlpha = 1;
  pen.fillRect(x(from), TOP, 2, HEIGHT - TOP - BOTTOM);
}

function line(pen, points, name, x, y, { colour, dash, wide }) {
  pen.strokeStyle = colour;
  pen.lineWidth = wide;
  pen.setLineDash(dash);
  pen.beginPath();
  let open = false;
  for (const point of points) {
    if (Number.isNaN(point[name])) open = false;
    else if (open) pen.lineTo(x(point.at), y(point[name]));
    else {
      pen.moveTo(x(point.at), y(point[name]));
      open = true;
    }
  }
  pen.stroke();
  pen.setLineDash([]);
}
