/** The figures behind a piece of evidence as bars: the same as `offbeat.figures` draws in the terminal; tests hold both to one list of cases. */

import { el } from "./dom.js";
import { trim } from "./format.js";

/** Names of figures that stand beside one another; others are no quantity, or of another kind (a rank, a number of calls). */
const COMPARED = new Set("after age before bound limit max median normal now others peers typical usual".split(" "));
/** Names of figures between 0 and 1, which are drawn against 1. */
const SHARES = new Set(["share", "busy"]);
/** Bars of one piece of evidence; of more, the largest. */
const MOST = 6;
const SECONDS = { ns: 1e-9, us: 1e-6, ms: 1e-3, seconds: 1 };

/**
 * What of the data of one piece of evidence can be compared; nothing where nothing can.
 * @param {Object} data
 * @returns {{name: string, length: number, text: string}[]} lengths from 0 to 1
 */
export function bars(data) {
  const entries = Object.entries(data ?? {});
  const compared = comparedBars(entries, "others" in (data ?? {}));
  if (compared.length) return compared;
  const shares = entries.filter(([name, value]) => SHARES.has(name) && isNumber(value) && value >= 0 && value <= 1);
  if (shares.length) return shares.map(([name, value]) => ({ name, length: value, text: percent(value) }));
  const named = entries.find(([, value]) => isCountable(value));
  return named ? namedBars(named[1]) : [];
}

function comparedBars(entries, withOthers) {
  const groups = new Map();
  for (const [key, value] of entries) {
    let [name, unit] = split(key);
    if (SHARES.has(name) && withOthers) [name, unit] = ["this", ""];
    if (!(COMPARED.has(name) || name === "this") || !isNumber(value) || value < 0) continue;
    groups.set(unit, [...(groups.get(unit) ?? []), { name, value }]);
  }
  let best = ["", []];
  for (const group of groups) if (group[1].length > best[1].length) best = group;
  const [unit, group] = best;
  const top = Math.max(0, ...group.map(({ value }) => value));
  if (group.length < 2 || top <= 0) return [];
  const shares = group.some(({ name }) => name === "this");
  return group.map(({ name, value }) => ({ name, length: value / top, text: shares ? percent(value) : quantity(value, unit) }));
}

function namedBars(values) {
  const largest = Object.entries(values).sort((a, b) => b[1] - a[1]);
  const top = largest[0][1];
  return largest.slice(0, MOST).map(([name, value]) => ({ name, length: top <= 1 ? value : value / top, text: top <= 1 ? percent(value) : quantity(value, "") }));
}

function split(key) {
  const at = key.lastIndexOf("_");
  return at > 0 && Object.hasOwn(SECONDS, key.slice(at + 1)) ? [key.slice(0, at), key.slice(at + 1)] : [key, ""];
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

function isCountable(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return false;
  const numbers = Object.values(value);
  return numbers.length > 1 && numbers.every((each) => isNumber(each) && each >= 0) && Math.max(...numbers) > 0;
}

const percent = (value) => `${Math.round(100 * value)} %`;

/** A quantity in the one unit that suits it. */
function quantity(value, unit) {
  if (!unit) return trim(value);
  const seconds = value * SECONDS[unit];
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${trim(seconds)} s`;
  for (const [limit, name, length] of [[120, "s", 1], [7200, "min", 60], [172_800, "h", 3600]]) if (seconds < limit) return `${Math.round(seconds / length)} ${name}`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** Draw bars; null where there are none. Each line says its figure in words, so that nothing hangs on the picture. */
export function barsNode(data) {
  const made = bars(data);
  if (!made.length) return null;
  return el(
    "dl",
    { class: "bars" },
    ...made.flatMap(({ name, length, text }) => {
      const bar = el("span", { class: "bar-fill", "aria-hidden": "true" });
      bar.style.width = `${100 * length}%`;
      return [el("dt", { text: name, title: name }), el("dd", {}, el("span", { class: "bar-track", "aria-hidden": "true" }, bar), el("span", { class: "bar-text", text }))];
    }),
  );
}
