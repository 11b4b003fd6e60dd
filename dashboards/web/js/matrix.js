/** Lateness of ranks over time, as typed arrays: windows in order of time, each with one value a rank (ms, NaN = none). */

import { fromNs } from "./format.js";

/** Values kept (float32); at 16,384 ranks that is about 600 windows and 40 MB. */
export const MOST_VALUES = 10_000_000;

/**
 * Read the octet-stream form: u32 times, u32 ranks, i64 times (ns), i32 ranks, f32 values row by row, little endian.
 * @param {ArrayBuffer} buffer
 * @returns {{times: number[], ranks: Int32Array, values: Float32Array}} times in ms
 */
export function decode(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 8) throw new RangeError("lateness: the answer is cut off");
  const n = view.getUint32(0, true);
  const m = view.getUint32(4, true);
  if (buffer.byteLength !== 8 + 8 * n + 4 * m + 4 * n * m) throw new RangeError("lateness: length does not fit its head");
  const times = Array.from(new BigInt64Array(buffer, 8, n), fromNs);
  return { times, ranks: new Int32Array(buffer, 8 + 8 * n, m), values: new Float32Array(buffer, 8 + 8 * n + 4 * m, n * m) };
}

export class Matrix {
  constructor() {
    this.ranks = new Int32Array(0);
    /** @type {{at: number, values: Float32Array}[]} ascending by `at` (ms) */
    this.windows = [];
    /** Changes when rows mean other ranks; what was computed per row is then void. */
    this.layout = 0;
  }

  /** Most windows that fit beside one another for this many ranks. */
  static capacity(ranks) {
    return Math.max(60, Math.floor(MOST_VALUES / Math.max(1, ranks)));
  }

  /**
   * Add a block as `decode` returns it. Of windows of the same time the larger values stay: lateness only grows as records of
   * more ranks come in, and a window that stands for several keeps its peaks.
   */
  merge({ times, ranks, values }) {
    if (!times.length || !ranks.length) return;
    const place = this.#places(ranks);
    const known = new Map(this.windows.map((window, i) => [window.at, i]));
    let ordered = true;
    times.forEach((at, t) => {
      let row = values.subarray(t * ranks.length, (t + 1) * ranks.length);
      if (place) {
        const wide = new Float32Array(this.ranks.length).fill(NaN);
        for (let i = 0; i < place.length; i += 1) wide[place[i]] = row[i];
        row = wide;
      }
      const old = known.get(at);
      if (old !== undefined) this.windows[old] = { at, values: larger(this.windows[old].values, row) };
      else {
        ordered &&= !this.windows.length || at > this.windows.at(-1).at;
        this.windows.push({ at, values: row });
      }
    });
    if (!ordered) this.windows.sort((a, b) => a.at - b.at);
    const over = this.windows.length - Matrix.capacity(this.ranks.length);
    if (over > 0) this.windows.splice(0, over);
  }

  /** Forget windows before *since* (ms). */
  trim(since) {
    const keep = this.windows.findIndex((window) => window.at >= since);
    if (keep === -1) this.windows = [];
    else if (keep > 0) this.windows.splice(0, keep);
  }

  /** The usual distance between windows, ms. */
  get spacing() {
    const gaps = this.windows.slice(-200).map((window, i, all) => (i ? window.at - all[i - 1].at : 0)).slice(1).sort((a, b) => a - b);
    return gaps.length ? gaps[gaps.length >> 1] : 1000;
  }

  /** Where the ranks of a block go, or null where they are exactly ours; unknown ranks widen the matrix. */
  #places(ranks) {
    const same = ranks.length === this.ranks.length && ranks.every((rank, i) => rank === this.ranks[i]);
    if (same) return null;
    const sorted = Int32Array.from(new Set([...this.ranks, ...ranks])).sort();
    const index = new Map(Array.from(sorted, (rank, i) => [rank, i]));
    if (sorted.length !== this.ranks.length) {
      const old = this.ranks;
      this.windows = this.windows.map(({ at, values }) => {
        const wide = new Float32Array(sorted.length).fill(NaN);
        old.forEach((rank, i) => {
          wide[index.get(rank)] = values[i];
        });
        return { at, values: wide };
      });
      this.ranks = sorted;
      this.layout += 1;
    }
    return Int32Array.from(ranks, (rank) => index.get(rank));
  }
}

function larger(old, values) {
  return old.map((value, i) => (values[i] > value || Number.isNaN(value) ? values[i] : value));
}
