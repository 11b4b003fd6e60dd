/** The ranks × time picture of lateness: our own canvas, since charting libraries take seconds for what this draws in milliseconds. */

import { fit, gutter, hatching, ink, isDark, isNarrow, timeTicks } from "./axis.js";
import { Pointer } from "./pointer.js";
import { Scale, table } from "./palette.js";
import { columnWindows, poolRanks, rowSpan } from "./pool.js";

const ROW = 26;
const LOWEST = 104;
const FOOT = 24;
/** Tallest plot, CSS pixels: what fits a laptop's screen below the beat. */
const TALLEST = 460;
/** Thinnest row, CSS pixels; a line of one pixel among thousands of dark ones is overlooked. */
const THINNEST = 2;
/** Fewest ranks a zoom leaves. */
const FEWEST = 8;

export class HeatMap {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{tip: Element, reader: Element, hostOf: function(number): string, onCursor: function(number|null), onScale: function(Scale, Uint32Array)}} tools
   */
  constructor(canvas, tools) {
    this.canvas = canvas;
    this.tools = tools;
    this.sheet = document.createElement("canvas");
    this.pooled = new WeakMap();
    this.zoomed = null;
    this.scale = null;
    this.data = null;
    this.pointer = new Pointer(this, tools);
  }

  /**
   * Say what to draw.
   * @param {{matrix: Matrix, view: {since: number, until: number}, iteration: number|null, marks: Map<number, string>}} data `marks`: rank → severity
   */
  show(data) {
    if (this.data && (this.data.matrix !== data.matrix || this.layout !== data.matrix.layout)) this.zoomed = null;
    this.layout = data.matrix.layout;
    this.data = data;
    this.draw();
  }

  /** Places of the ranks shown: [low, high). */
  get range() {
    return this.zoomed ?? [0, this.data.matrix.ranks.length];
  }

  /** Show fewer (factor < 1) or more ranks around a place. */
  zoom(factor, around = this.pointer.place ?? this.latest()?.place ?? null) {
    const all = this.data.matrix.ranks.length;
    const [low, high] = this.range;
    const many = Math.min(all, Math.max(Math.min(FEWEST, all), Math.round((high - low) * factor)));
    const middle = around ?? (low + high) / 2;
    const first = Math.min(all - many, Math.max(0, Math.round(middle - many / 2)));
    this.zoomed = many === all ? null : [first, first + many];
    this.draw();
  }

  /** Bring a rank's place into the shown range. */
  reveal(place) {
    const [low, high] = this.range;
    if (place >= low && place < high) return;
    this.zoom(1, place);
  }

  draw() {
    if (!this.data || !this.data.matrix.ranks.length) return;
    const began = performance.now();
    const [low, high] = this.range;
    const plotHigh = Math.min(TALLEST, Math.max(LOWEST, (high - low) * ROW));
    const page = fit(this.canvas, plotHigh + FOOT);
    if (!page) return;
    const { left, right } = gutter(page.width);
    const columns = Math.max(1, Math.round((page.width - left - right) * page.ratio));
    const rows = Math.min(high - low, Math.floor(plotHigh / THINNEST));
    const { matrix, view } = this.data;
    const pairs = columnWindows(matrix.windows, matrix.spacing, view.since, view.until, columns);
    this.grid = { low, high, rows, left, width: page.width - left - right, height: plotHigh, pairs, columns };
    this.colours = table(isDark());
    this.#rescale();
    this.#paint(pairs, columns, rows);
    page.pen.fillStyle = hatching(page.pen, ink().hatch);
    page.pen.fillRect(left, 0, this.grid.width, plotHigh);
    page.pen.imageSmoothingEnabled = false;
    page.pen.drawImage(this.sheet, 0, 0, columns, rows, left, 0, this.grid.width, plotHigh);
    this.#words(page);
    this.pointer.refresh();
    this.canvas.dataset.frame = (performance.now() - began).toFixed(1);
  }

  /** The pooled rows of a window, and their colour codes on the scale in force. */
  rowsOf(window) {
    const { low, high, rows } = this.grid;
    const key = `${this.layout}/${low}/${high}/${rows}`;
    let kept = this.pooled.get(window.values);
    if (!kept || kept.key !== key) this.pooled.set(window.values, (kept = { key, rows: poolRanks(window.values, low, high, rows), scale: null, codes: null }));
    return kept;
  }

  #codes(window) {
    const kept = this.rowsOf(window);
    if (kept.scale !== this.scale) {
      kept.scale = this.scale;
      kept.codes = Uint8Array.from(kept.rows, (value) => this.scale.code(value));
    }
    return kept.codes;
  }

  #rescale() {
    const { windows } = this.data.matrix;
    const { pairs, columns } = this.grid;
    let worst = 0;
    let seen = -1;
    for (let x = 0; x < columns; x += 1) {
      if (pairs[2 * x] < 0) continue;
      for (let i = Math.max(seen + 1, pairs[2 * x]); i <= pairs[2 * x + 1]; i += 1) for (const value of this.rowsOf(windows[i]).rows) if (value > worst) worst = value;
      seen = pairs[2 * x + 1];
    }
    const scale = new Scale(worst, this.data.iteration);
    if (!scale.same(this.scale)) this.scale = scale;
    this.tools.onScale(this.scale, this.colours);
  }

  #paint(pairs, columns, rows) {
    const { windows } = this.data.matrix;
    if (this.sheet.width !== columns || this.sheet.height !== rows) {
      this.sheet.width = columns;
      this.sheet.height = rows;
    }
    const pen = this.sheet.getContext("2d");
    const image = pen.createImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const merged = new Uint8Array(rows);
    for (let x = 0; x < columns; x += 1) {
      const [first, last] = [pairs[2 * x], pairs[2 * x + 1]];
      if (first < 0) continue;
      let codes = this.#codes(windows[first]);
      if (last > first) {
        merged.set(codes);
        for (let i = first + 1; i <= last; i += 1) {
          const more = this.#codes(windows[i]);
          for (let y = 0; y < rows; y += 1) if (more[y] > merged[y]) merged[y] = more[y];
        }
        codes = merged;
      }
      for (let y = 0, at = x; y < rows; y += 1, at += columns) pixels[at] = this.colours[codes[y]];
    }
    pen.putImageData(image, 0, 0);
  }

  #words({ pen, width }) {
    const { left, low, high, height } = this.grid;
    const { matrix, view, marks } = this.data;
    const colours = ink();
    const tall = height / (high - low);
    pen.font = colours.font;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    pen.fillStyle = colours.text;
    const step = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192].find((size) => size * tall >= 18) ?? 16384;
    for (let place = Math.ceil(low / step) * step; place < high; place += step) {
      const y = (place - low + 0.5) * tall;
      pen.fillText(shorten(pen, this.#label(matrix.ranks[place], step === 1 && !isNarrow(width)), left - 20), left - 14, Math.max(6, Math.min(height - 6, y)));
    }
    if (tall >= 5) this.#hostLines(pen, colours, tall);
    matrix.ranks.forEach((rank, place) => {
      if (!marks.has(rank) || place < low || place >= high) return;
      const y = (place - low + 0.5) * tall;
      pen.fillStyle = colours[marks.get(rank)] ?? colours.critical;
      pen.beginPath();
      pen.moveTo(left - 10, y - 5);
      pen.lineTo(left - 3, y);
      pen.lineTo(left - 10, y + 5);
      pen.fill();
    });
    pen.fillStyle = colours.text;
    pen.textAlign = "center";
    for (const { at, text } of timeTicks(view.since, view.until, this.grid.width)) {
      const x = left + ((at - view.since) / (view.until - view.since)) * this.grid.width;
      const half = pen.measureText(text).width / 2;
      pen.fillRect(Math.round(x), height, 1, 4);
      if (x - half > 0 && x + half < width) pen.fillText(text, x, height + 14);
    }
  }

  #label(rank, withHost) {
    const host = withHost ? this.tools.hostOf(rank) : "";
    return host ? `${host}  ${rank}` : `${rank}`;
  }

  /** A hair of background between hosts, so that a whole bad host is seen as one. */
  #hostLines(pen, colours, tall) {
    const { left, low, high, width } = this.grid;
    const { ranks } = this.data.matrix;
    pen.fillStyle = colours.surface;
    for (let place = low + 1; place < high; place += 1) {
      if (this.tools.hostOf(ranks[place]) !== this.tools.hostOf(ranks[place - 1])) pen.fillRect(left, Math.round((place - low) * tall) - 1, width, 2);
    }
  }

  /** The cell of the largest lateness in the newest window that has any, or null. */
  latest() {
    const { matrix, view } = this.data ?? {};
    if (!matrix) return null;
    for (let i = matrix.windows.length - 1; i >= 0 && matrix.windows[i].at >= view.since; i -= 1) {
      let place = -1;
      const { at, values } = matrix.windows[i];
      if (at > view.until) continue;
      values.forEach((value, p) => {
        if (!Number.isNaN(value) && (place < 0 || value > values[place])) place = p;
      });
      if (place >= 0) return { window: i, place };
    }
    return null;
  }

  /** What is under a row in a window: the latest of the ranks pooled there. */
  cell(windowIndex, row) {
    const { low, high, rows } = this.grid;
    const { ranks, windows } = this.data.matrix;
    const window = windows[windowIndex];
    const [from, to] = rowSpan(row, low, high, rows);
    let place = from;
    for (let p = from; p < to; p += 1) if (window.values[p] > window.values[place] || Number.isNaN(window.values[place])) place = p;
    return { rank: ranks[place], place, value: window.values[place], at: window.at, pooled: to - from, window: windowIndex, row };
  }
}

/** Cut words that do not fit, at their beginning side's end: the rank at the end of the label stays. */
function shorten(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  const gap = text.lastIndexOf("  ");
  if (gap < 0) return text;
  const rank = text.slice(gap);
  for (let keep = gap - 1; keep > 0; keep -= 1) {
    const short = `${text.slice(0, keep)}…${rank}`;
    if (pen.measureText(short).width <= room) return short;
  }
  return rank.trim();
}
