/** The cell a person looks at in the lateness map, by mouse, finger or keyboard. */

import { el, setText } from "./dom.js";
import { clock, lateness, utc } from "./format.js";

export class Pointer {
  /**
   * @param {HeatMap} map
   * @param {{tip: Element, reader: Element, hostOf: function(number): string, onCursor: function(number|null)}} tools
   */
  constructor(map, tools) {
    this.map = map;
    this.tools = tools;
    /** {at, place} in the data, so that the cell stays itself while time moves on; null = nowhere. */
    this.held = null;
    this.box = el("div", { class: "cell", hidden: true });
    map.canvas.after(this.box);
    map.canvas.addEventListener("pointermove", (event) => this.#hover(event));
    map.canvas.addEventListener("pointerdown", (event) => this.#hover(event));
    map.canvas.addEventListener("pointerleave", () => document.activeElement !== map.canvas && this.leave());
    map.canvas.addEventListener("keydown", (event) => this.#key(event));
    map.canvas.addEventListener("focus", () => this.held === null && map.canvas.matches(":focus-visible") && this.#goLatest());
    map.canvas.addEventListener("blur", () => this.leave());
  }

  get place() {
    return this.held?.place ?? null;
  }

  leave() {
    this.held = null;
    this.box.hidden = true;
    this.tools.tip.hidden = true;
    this.tools.onCursor(null);
  }

  /** Put the marks where the held cell is now; called after every drawing. */
  refresh() {
    if (this.held) this.#mark(false);
  }

  #hover(event) {
    const { grid } = this.map;
    if (!grid) return;
    const x = event.offsetX - grid.left;
    const y = event.offsetY;
    if (x < 0 || x >= grid.width || y < 0 || y >= grid.height) {
      this.leave();
      return;
    }
    const last = grid.pairs[2 * Math.floor((x / grid.width) * grid.columns) + 1];
    if (last < 0) {
      this.leave();
      return;
    }
    const { at, place } = this.map.cell(last, Math.floor((y / grid.height) * grid.rows));
    this.held = { at, place };
    this.#mark(false);
  }

  #key(event) {
    const { map } = this;
    if (!map.grid || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      ArrowLeft: () => this.#step(-1, 0),
      ArrowRight: () => this.#step(1, 0),
      ArrowUp: () => this.#step(0, -1),
      ArrowDown: () => this.#step(0, 1),
      PageUp: () => this.#step(0, -10),
      PageDown: () => this.#step(0, 10),
      Home: () => this.#step(-Infinity, 0),
      End: () => this.#step(Infinity, 0),
      h: () => this.#goLatest(),
      "+": () => map.zoom(0.5),
      "-": () => map.zoom(2),
      Escape: () => this.leave(),
    };
    const move = moves[event.key] ?? moves[event.key.toLowerCase()];
    if (!move) return;
    event.preventDefault();
    move();
  }

  #goLatest() {
    const found = this.map.latest();
    if (!found) return;
    this.held = { at: this.map.data.matrix.windows[found.window].at, place: found.place };
    this.map.reveal(found.place);
    this.#mark(true);
  }

  #step(time, rows) {
    if (!this.held) {
      this.#goLatest();
      return;
    }
    const { matrix, view } = this.map.data;
    const [low, high] = this.map.range;
    const shown = matrix.windows.map((window, i) => i).filter((i) => matrix.windows[i].at >= view.since && matrix.windows[i].at <= view.until);
    if (!shown.length) return;
    const now = Math.max(0, shown.findIndex((i) => matrix.windows[i].at >= this.held.at));
    const next = shown[Math.min(shown.length - 1, Math.max(0, now + time))];
    const jump = Math.max(1, Math.round((high - low) / this.map.grid.rows));
    const place = Math.min(matrix.ranks.length - 1, Math.max(0, this.held.place + rows * jump));
    this.held = { at: matrix.windows[next].at, place };
    this.map.reveal(place);
    this.#mark(true);
  }

  #mark(aloud) {
    const { map, tools } = this;
    const { grid } = map;
    const { matrix, view } = map.data;
    const index = matrix.windows.findIndex((window) => window.at === this.held.at);
    if (index < 0 || this.held.at < view.since || this.held.place < grid.low || this.held.place >= grid.high) {
      this.box.hidden = true;
      tools.tip.hidden = true;
      return;
    }
    const row = Math.min(grid.rows - 1, Math.floor((((this.held.place - grid.low) + 0.5) * grid.rows) / (grid.high - grid.low)));
    const { at } = this.held;
    const rank = matrix.ranks[this.held.place];
    const value = matrix.windows[index].values[this.held.place];
    const wide = Math.max(3, (matrix.spacing / (view.until - view.since)) * grid.width);
    const right = grid.left + ((at - view.since) / (view.until - view.since)) * grid.width;
    const tall = Math.max(3, grid.height / grid.rows);
    place(this.box, right - wide, (row / grid.rows) * grid.height, wide, tall);
    this.box.hidden = false;
    const host = tools.hostOf(rank);
    const many = Math.round((grid.high - grid.low) / grid.rows);
    tools.tip.replaceChildren(
      el("b", { text: Number.isNaN(value) ? "no data" : `${lateness(value)} late` }),
      el("span", { text: `rank ${rank}${host ? ` on ${host}` : ""}` }),
      el("span", { text: clock(at), title: utc(at) }),
      many > 1 ? el("span", { class: "dim", text: `the latest of ${many} ranks in this row` }) : null,
    );
    tools.tip.hidden = false;
    const { offsetWidth, offsetHeight } = tools.tip;
    const x = right + 12 + offsetWidth > grid.left + grid.width ? right - wide - 12 - offsetWidth : right + 12;
    place(tools.tip, Math.max(0, x), Math.max(0, Math.min(grid.height - offsetHeight, (row / grid.rows) * grid.height - offsetHeight / 2)));
    tools.onCursor(at);
    if (aloud) setText(tools.reader, `Rank ${rank}${host ? ` on ${host}` : ""}, ${clock(at)}, ${Number.isNaN(value) ? "no data" : `${lateness(value)} late`}.`);
  }
}

function place(node, left, top, width, height) {
  node.style.left = `${left}px`;
  node.style.top = `${top}px`;
  if (width !== undefined) node.style.width = `${width}px`;
  if (height !== undefined) node.style.height = `${height}px`;
}
