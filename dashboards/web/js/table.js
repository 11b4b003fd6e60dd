/** The lateness map as a table: for those who do not see the picture, and for those who want the number. */

import { byId, el, setText } from "./dom.js";
import { count, lateness, timeNode } from "./format.js";

/** Rows a page; a table of 16,384 rows would make the browser slow and nobody reads it. */
const PAGE = 50;

export class LatenessTable {
  /** @param {function(number): string} hostOf */
  constructor(hostOf) {
    this.hostOf = hostOf;
    this.rows = PAGE;
    this.data = null;
    byId("find").addEventListener("input", () => {
      this.rows = PAGE;
      this.draw();
    });
    byId("more").addEventListener("click", () => {
      this.rows += PAGE;
      this.draw();
    });
  }

  show(matrix, view) {
    this.data = { matrix, view };
    this.draw();
  }

  draw() {
    if (!this.data || byId("lateness-table").hidden) return;
    const { matrix, view } = this.data;
    const windows = matrix.windows.filter((window) => window.at >= view.since && window.at <= view.until);
    const wanted = byId("find").value.trim().toLowerCase();
    const places = worstFirst(matrix, windows).filter(({ place }) => this.#fits(matrix.ranks[place], wanted));
    const shown = places.slice(0, this.rows);
    byId("table-rows").replaceChildren(...shown.map(({ place, worst, at }) => this.#row(matrix.ranks[place], windows, place, worst, at)));
    setText(byId("table-caption"), `Lateness by rank, latest first: ${shown.length} of ${count(places.length, "rank")}`);
    byId("more").hidden = shown.length === places.length;
  }

  #fits(rank, wanted) {
    return !wanted || String(rank) === wanted || this.hostOf(rank).toLowerCase().includes(wanted);
  }

  #row(rank, windows, place, worst, at) {
    const values = Float32Array.from(windows, (window) => window.values[place]).filter((value) => !Number.isNaN(value)).sort();
    const now = windows.length ? windows.at(-1).values[place] : NaN;
    const middle = values.length ? values[values.length >> 1] : NaN;
    return el(
      "tr",
      {},
      el("th", { scope: "row", text: String(rank) }),
      el("td", { text: this.hostOf(rank) || "–" }),
      ...[now, middle, worst].map((value) => el("td", { text: lateness(value) })),
      el("td", {}, at === null ? "–" : timeNode(at)),
    );
  }
}

function worstFirst(matrix, windows) {
  const worst = new Float32Array(matrix.ranks.length).fill(NaN);
  const when = new Array(matrix.ranks.length).fill(null);
  for (const { at, values } of windows) {
    for (let i = 0; i < values.length; i += 1) {
      if (values[i] > worst[i] || (Number.isNaN(worst[i]) && !Number.isNaN(values[i]))) {
        worst[i] = values[i];
        when[i] = at;
      }
    }
  }
  const score = (place) => (Number.isNaN(worst[place]) ? -1 : worst[place]);
  return Array.from(worst, (value, place) => ({ place, worst: value, at: when[place] })).sort((a, b) => score(b.place) - score(a.place) || a.place - b.place);
}
