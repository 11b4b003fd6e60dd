/** The beat of one job: seconds an iteration over time, with the stretches of its incidents behind. */

import { fit, gutter, ink } from "./axis.js";
import { fromNs, seconds, trim } from "./format.js";

const HEIGHT = 92;
const TOP = 8;
const BOTTOM = 6;
/** Usual distances of points after which the line breaks: a hang must not look like a long slope. */
const HOLE = 4;

/**
 * Draw the beat.
 * @param {HTMLCanvasElement} canvas
 * @param {{at: number[], seconds: number[]}|undefined} beat
 * @param {{since: number, until: number}} view ms
 * @param {Object[]} incidents of this job
 * @param {number|null} cursor time under the pointer, ms
 * @returns {string} what the picture shows, in words
 */
export function drawBeat(canvas, beat, view, incidents, cursor) {
  const sheet = fit(canvas, HEIGHT);
  if (!sheet) return "";
  const { pen, width } = sheet;
  const colours = ink();
  const { left, right } = gutter(width);
  const plot = width - left - right;
  const x = (at) => left + ((at - view.since) / (view.until - view.since)) * plot;

  shade(pen, incidents, view, colours, x);
  const columns = slowestPerColumn(beat, view, Math.max(1, Math.floor(plot)));
  const known = columns.filter((value) => value > 0);
  pen.font = colours.font;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  if (!known.length) {
    pen.textAlign = "left";
    pen.fillStyle = colours.text;
    pen.fillText("no iteration was seen in this stretch", left, HEIGHT / 2);
    return "No iteration was seen in this stretch.";
  }
  const top = Math.max(...known) * 1.12;
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  pen.strokeStyle = colours.line;
  pen.fillStyle = colours.text;
  pen.lineWidth = 1;
  for (const value of levels(top)) {
    pen.beginPath();
    pen.moveTo(left, Math.round(y(value)) + 0.5);
    pen.lineTo(left + plot, Math.round(y(value)) + 0.5);
    pen.stroke();
    pen.fillText(value === 0 ? "0" : seconds(value), left - 8, y(value));
  }
  pen.strokeStyle = colours.beat;
  pen.lineWidth = 1.6;
  pen.lineJoin = "round";
  pen.beginPath();
  const hole = Math.max(6, (HOLE * usualGap(beat) * plot) / (view.until - view.since));
  let previous = -Infinity;
  columns.forEach((value, column) => {
    if (!value) return;
    if (column - previous > hole) pen.moveTo(left + column, y(value));
    else pen.lineTo(left + column, y(value));
    previous = column;
  });
  pen.stroke();
  if (cursor !== null && cursor >= view.since && cursor <= view.until) {
    pen.fillStyle = colours.strong;
    pen.fillRect(Math.round(x(cursor)), 0, 1, HEIGHT);
  }
  const sorted = [...known].sort((a, b) => a - b);
  return `An iteration takes ${trim(sorted[sorted.length >> 1])} seconds in the middle, ${trim(sorted.at(-1))} at worst.`;
}

function shade(pen, incidents, view, colours, x) {
  for (const { severity, opened_at, ended_at, finding } of incidents) {
    const from = fromNs(finding.started_at ?? opened_at);
    const to = fromNs(ended_at ?? finding.ended_at) ?? view.until;
    if (to < view.since || from > view.until) continue;
    const [a, b] = [x(Math.max(from, view.since)), x(Math.min(to, view.until))];
    pen.fillStyle = colours[severity] ?? colours.info;
    pen.globalAlpha = 0.16;
    pen.fillRect(a, 0, Math.max(2, b - a), HEIGHT);
    pen.globalAlpha = 1;
    if (from >= view.since) pen.fillRect(a, 0, 2, HEIGHT);
  }
}

/** The usual distance of points, ms. */
function usualGap({ at }) {
  const last = at.slice(-100);
  const gaps = last.slice(1).map((time, i) => time - last[i]).sort((a, b) => a - b);
  return gaps.length ? gaps[gaps.length >> 1] : 1000;
}

function slowestPerColumn(beat, view, columns) {
  const out = new Array(columns).fill(0);
  if (!beat) return out;
  for (let i = beat.at.length - 1; i >= 0 && beat.at[i] >= view.since; i -= 1) {
    if (beat.at[i] > view.until) continue;
    const column = Math.min(columns - 1, Math.floor(((beat.at[i] - view.since) / (view.until - view.since)) * columns));
    out[column] = Math.max(out[column], beat.seconds[i]);
  }
  return out;
}

function levels(top) {
  const decade = 10 ** Math.floor(Math.log10(top));
  const step = [0.5, 1, 2, 5].map((digit) => digit * decade).find((size) => top / size <= 4.5) ?? decade * 5;
  const values = [];
  for (let value = 0; value <= top; value += step) values.push(value);
  return values;
}
