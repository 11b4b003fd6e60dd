/** What one host measured: a small chart a metric, all on one axis of time, with what the kernel and the devices said above. */

import { fit, gutter, ink, timeTicks } from "./axis.js";
import { fromNs, trim } from "./format.js";

const HEIGHT = 74;
const STRIP = 34;
const TOP = 6;
const BOTTOM = 6;
const AXIS = 18;
/** Order of the kinds of devices; others follow by name. */
const KINDS = ["gpu", "nvswitch", "nic", "pci", "cpu", "memory", "disk", "host", "process"];
const UNITS = { bytes: ["B", 1], bps: ["bit/s", 1], hz: ["Hz", 1], celsius: ["°C", 1], watts: ["W", 1], ratio: ["%", 100], seconds: ["s", 1] };
const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/**
 * Put series of one metric together: one chart each, with a line a device.
 * @param {Object[]} series as the API gives them
 * @returns {{kind: string, metric: string, perSecond: boolean, lines: {device: string, at: number[], value: (number|null)[]}[]}[]}
 */
export function charts(series) {
  const made = new Map();
  for (const { device_kind, device_id, metric, per_second, at, value } of series) {
    const key = `${device_kind}/${metric}`;
    if (!made.has(key)) made.set(key, { kind: device_kind ?? "host", metric, perSecond: per_second, lines: [] });
    made.get(key).lines.push({ device: device_id ?? "", at: at.map(fromNs), value });
  }
  const rank = (kind) => (KINDS.includes(kind) ? KINDS.indexOf(kind) : KINDS.length);
  return [...made.values()].sort((a, b) => rank(a.kind) - rank(b.kind) || (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : 0));
}

/** Whether a chart shows anything that moves; the others are told as one figure. */
export const moves = ({ lines }) => {
  const first = lines[0]?.value.find((value) => value !== null);
  return lines.some(({ value }) => value.some((each) => each !== null && each !== first));
};

/** A figure of a metric with its unit. */
export function quantity(value, metric, perSecond) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const [, name] = /_([a-z]+)$/.exec(metric.replace(/_total$/, "")) ?? [];
  // Seconds a second are a share of the time.
  if (name === "seconds" && perSecond) return `${trim(100 * value)} %`;
  const [unit, factor] = UNITS[name] ?? ["", 1];
  const scaled = value * factor;
  const [size, prefix] = ["B", "bit/s", "Hz", ""].includes(unit) ? (PREFIXES.find(([least]) => Math.abs(scaled) >= least) ?? [1, ""]) : [1, ""];
  return `${trim(scaled / size)} ${prefix}${unit}${perSecond ? "/s" : ""}`.trim();
}

/**
 * Draw one chart. The chosen device's line is strong, the others are thin: one of eight is found by choosing, not by colour.
 * @returns {string} what it shows, in words
 */
export function drawChart(canvas, chart, view, chosen, cursor) {
  const sheet = fit(canvas, HEIGHT);
  if (!sheet) return "";
  const { pen, width } = sheet;
  const colours = ink();
  const { left, right } = gutter(width);
  const plot = width - left - right;
  const known = chart.lines.flatMap(({ value }) => value).filter((value) => value !== null);
  const [low, high] = range(known);
  const x = (at) => left + ((at - view.since) / (view.until - view.since)) * plot;
  const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  pen.font = colours.font;
  pen.fillStyle = colours.text;
  pen.strokeStyle = colours.line;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const value of [low, high]) {
    pen.beginPath();
    pen.moveTo(left, Math.round(y(value)) + 0.5);
    pen.lineTo(left + plot, Math.round(y(value)) + 0.5);
    pen.stroke();
    pen.fillText(quantity(value, chart.metric, chart.perSecond), left - 5, Math.min(HEIGHT - 8, Math.max(8, y(value))));
  }
  const strong = (line) => chosen === "" || line.device === chosen;
  for (const line of [...chart.lines].sort((a, b) => strong(a) - strong(b))) {
    pen.strokeStyle = strong(line) ? colours.beat : colours.text;
    pen.globalAlpha = strong(line) ? 1 : 0.4;
    pen.lineWidth = strong(line) && chosen !== "" ? 2 : 1.2;
    stroke(pen, line, x, y);
  }
  pen.globalAlpha = 1;
  mark(pen, cursor, view, x, HEIGHT, colours);
  const most = known.reduce((top, value) => Math.max(top, value), -Infinity);
  const least = known.reduce((bottom, value) => Math.min(bottom, value), Infinity);
  return `between ${quantity(least, chart.metric, chart.perSecond)} and ${quantity(most, chart.metric, chart.perSecond)}`;
}

function range(known) {
  const low = known.reduce((bottom, value) => Math.min(bottom, value), Infinity);
  const high = known.reduce((top, value) => Math.max(top, value), -Infinity);
  if (high > low) return [low >= 0 && low < high / 2 ? 0 : low, high];
  return [Math.min(0, low), Math.max(1, high)];
}

function stroke(pen, { at, value }, x, y) {
  pen.beginPath();
  let open = false;
  at.forEach((time, i) => {
    if (value[i] === null) open = false;
    else if (open) pen.lineTo(x(time), y(value[i]));
    else {
      pen.moveTo(x(time), y(value[i]));
      pen.lineTo(x(time) + 1, y(value[i]));
      open = true;
    }
  });
  pen.stroke();
}

/** Draw the axis of time with a mark for each event. */
export function drawStrip(canvas, events, view, cursor) {
  const sheet = fit(canvas, STRIP + AXIS);
  if (!sheet) return;
  const { pen, width } = sheet;
  const colours = ink();
  const { left, right } = gutter(width);
  const plot = width - left - right;
  const x = (at) => left + ((at - view.since) / (view.until - view.since)) * plot;
  pen.font = colours.font;
  pen.strokeStyle = colours.line;
  pen.beginPath();
  pen.moveTo(left, STRIP + 0.5);
  pen.lineTo(left + plot, STRIP + 0.5);
  pen.stroke();
  pen.fillStyle = colours.critical;
  for (const { at } of events) {
    pen.beginPath();
    pen.moveTo(x(fromNs(at)), STRIP - 2);
    pen.lineTo(x(fromNs(at)) - 6, STRIP - 15);
    pen.lineTo(x(fromNs(at)) + 6, STRIP - 15);
    pen.fill();
  }
  pen.fillStyle = colours.text;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.fillText("events", left - 8, STRIP - 9);
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  for (const { at, text } of timeTicks(view.since, view.until, width)) if (x(at) > left + 20 && x(at) < left + plot - 20) pen.fillText(text, x(at), STRIP + AXIS - 4);
  mark(pen, cursor, view, x, STRIP, colours);
}

function mark(pen, cursor, view, x, height, colours) {
  if (cursor === null || cursor < view.since || cursor > view.until) return;
  pen.fillStyle = colours.strong;
  pen.fillRect(Math.round(x(cursor)), 0, 1, height);
}
