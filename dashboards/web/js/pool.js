/** From ranks × windows to rows × columns of pixels, always by maximum: a mean would hide one bad rank among thousands. */

/**
 * Pool one window's ranks into rows.
 * @param {Float32Array} values one a rank, NaN = none
 * @param {number} low first rank place shown
 * @param {number} high one past the last
 * @param {number} rows at most high − low
 * @returns {Float32Array} the largest of each row, NaN where all are
 */
export function poolRanks(values, low, high, rows) {
  const out = new Float32Array(rows).fill(NaN);
  const many = high - low;
  for (let row = 0; row < rows; row += 1) {
    const end = low + Math.floor(((row + 1) * many) / rows);
    let best = NaN;
    for (let i = low + Math.floor((row * many) / rows); i < end; i += 1) {
      const value = values[i];
      if (value === value && !(value <= best)) best = value;
    }
    out[row] = best;
  }
  return out;
}

/** Rank places [from, to) behind one row. */
export function rowSpan(row, low, high, rows) {
  const many = high - low;
  return [low + Math.floor((row * many) / rows), low + Math.floor(((row + 1) * many) / rows)];
}

/**
 * Which windows fall on each pixel column.
 * @param {{at: number}[]} windows ascending; a window covers the stretch that ends at `at`
 * @param {number} spacing usual distance, ms
 * @param {number} since left edge, ms
 * @param {number} until right edge, ms
 * @param {number} columns
 * @returns {Int32Array} pairs [first, last] a column; first −1 where nothing is known
 */
export function columnWindows(windows, spacing, since, until, columns) {
  const out = new Int32Array(columns * 2).fill(-1);
  const step = (until - since) / columns;
  // A window that comes a little late is no gap.
  const reach = Math.max(spacing * 1.6, step);
  let first = 0;
  for (let x = 0; x < columns; x += 1) {
    const left = since + x * step;
    while (first < windows.length && windows[first].at < left) first += 1;
    if (first === windows.length) break;
    let last = first;
    while (last + 1 < windows.length && windows[last + 1].at < left + step) last += 1;
    if (windows[first].at - left > reach) continue;
    out[2 * x] = first;
    out[2 * x + 1] = last;
  }
  return out;
}
