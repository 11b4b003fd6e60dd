/** How numbers, times and rank lists are written. Times inside the page are milliseconds since the epoch. */

import { el } from "./dom.js";

/** Nanoseconds of the API to milliseconds, to the microsecond: a double holds no more of them. */
export const fromNs = (ns) => (ns === null || ns === undefined ? null : Math.round(Number(ns) / 1e3) / 1e3);

/** Milliseconds to the nanoseconds of the API, as text: a double cannot hold them. */
export const toNs = (ms) => String(BigInt(Math.round(ms)) * 1000000n);

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** Local time of day, with the date before it when that is not today. */
export function clock(ms, now = Date.now()) {
  const at = new Date(ms);
  const time = CLOCK.format(at);
  return at.toDateString() === new Date(now).toDateString() ? time : `${DAY.format(at)} ${time}`;
}

export const utc = (ms) => `${new Date(ms).toISOString().replace("T", " ").replace("Z", "")} UTC`;

/** A time element: local time to read, UTC on hover. */
export const timeNode = (ms) => el("time", { datetime: new Date(ms).toISOString(), title: utc(ms), text: clock(ms) });

/** A length of time in the one or two units that matter. */
export function duration(ms) {
  if (ms < 1) return `${trim(ms)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return two(minutes, "min", Math.floor((ms % 60_000) / 1000), "s");
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return two(hours, "h", minutes % 60, "min");
  return two(Math.floor(hours / 24), "d", hours % 24, "h");
}

const two = (a, unit, b, lesser) => (b ? `${a} ${unit} ${b} ${lesser}` : `${a} ${unit}`);

export function ago(ms, now = Date.now()) {
  const past = now - ms;
  return past < 1500 ? "just now" : `${duration(past < 60_000 ? Math.round(past / 1000) * 1000 : past).replace(".0", "")} ago`;
}

/** Three significant digits, no exponent, no trailing zeros. */
export const trim = (value) => (value === 0 ? "0" : String(Number(value.toPrecision(3))));

/** A lateness in milliseconds, or a dash where there is none. */
export const lateness = (ms) => (Number.isNaN(ms) ? "–" : ms >= 10_000 ? `${trim(ms / 1000)} s` : `${ms < 10 ? trim(ms) : Math.round(ms)} ms`);

export const seconds = (value) => (value === null || value === undefined ? "–" : value < 1 ? `${trim(value * 1000)} ms` : `${trim(value)} s`);

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** Ranks with runs drawn together: 0–3, 7. After `most` runs the rest is counted, not written. */
export function ranks(list, most = 8) {
  const runs = [];
  for (const rank of [...list].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last && rank <= last[1] + 1) last[1] = rank;
    else runs.push([rank, rank]);
  }
  const words = runs.slice(0, most).map(([a, b]) => (a === b ? `${a}` : b === a + 1 ? `${a}, ${b}` : `${a}–${b}`));
  const rest = runs.slice(most).reduce((sum, [a, b]) => sum + b - a + 1, 0);
  return words.join(", ") + (rest ? ` and ${rest} more` : "");
}
