/** The time axis that the beat and the map share, and drawing helpers for both canvases. */

import { clock } from "./format.js";

export const isNarrow = (width) => width < 520;

/** Room for words beside the plot, CSS pixels; narrow where the page is. */
export const gutter = (width) => ({ left: isNarrow(width) ? 58 : 112, right: 10 });

/** Room of a time at an axis, CSS pixels; one without seconds needs less. */
const room = (step) => (step < 60_000 ? 84 : 60);
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].map((s) => s * 1000);

/** Round times inside [since, until] with room between them. */
export function timeTicks(since, until, width) {
  const step = STEPS.find((size) => ((size / (until - since)) * width) >= room(size)) ?? STEPS.at(-1);
  const offset = new Date(since).getTimezoneOffset() * 60_000;
  const ticks = [];
  for (let at = Math.ceil((since - offset) / step) * step + offset; at <= until; at += step) ticks.push({ at, text: step < 60_000 ? clock(at) : clock(at).replace(/:\d\d$/, "") });
  return ticks;
}

/** Fit a canvas's pixels to its box; returns its context in CSS pixels and the size, or null while it has none. */
export function fit(canvas, height) {
  const width = canvas.clientWidth;
  if (!width) return null;
  const ratio = window.devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height, ratio };
}

/** The page's colours, for canvases. */
export function ink() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: colour("muted"),
    strong: colour("ink"),
    line: colour("line"),
    beat: colour("beat"),
    critical: colour("critical"),
    warning: colour("warning"),
    info: colour("info"),
    surface: colour("surface"),
    hatch: colour("hatch"),
    font: `12px ${style.getPropertyValue("--font")}`,
  };
}

export const isDark = () => window.matchMedia("(prefers-color-scheme: dark)").matches;

/** Hatching for "no data": a texture, since any colour could be taken for a value. */
export function hatching(pen, colour) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const brush = tile.getContext("2d");
  brush.strokeStyle = colour;
  brush.lineWidth = 1.2;
  brush.beginPath();
  for (const shift of [-8, 0, 8]) {
    brush.moveTo(shift, 8);
    brush.lineTo(shift + 8, 0);
  }
  brush.stroke();
  return pen.createPattern(tile, "repeat");
}
