/**
 * Colours of the lateness map. Lightness alone carries the value (it falls, or in the dark rises, all the way), so the map
 * reads the same with any colour vision and in grey; the hue is only help.
 */

const LIGHT = [
  [0, 240, 243, 247],
  [0.1, 246, 240, 224],
  [0.2, 253, 224, 148],
  [0.4, 244, 154, 64],
  [0.62, 205, 72, 62],
  [0.82, 122, 30, 92],
  [1, 38, 8, 56],
];
const DARK = [
  [0, 24, 30, 40],
  [0.1, 34, 32, 58],
  [0.2, 66, 36, 104],
  [0.38, 138, 42, 110],
  [0.6, 214, 70, 62],
  [0.82, 248, 160, 48],
  [1, 255, 248, 196],
];

/** Entries of a table; entry 0 is "no data" and clear, so that the hatching behind the canvas shows. */
export const CODES = 256;

/** The colours of one scheme as little-endian RGBA words. */
export function table(dark) {
  const stops = dark ? DARK : LIGHT;
  const words = new Uint32Array(CODES);
  for (let code = 1; code < CODES; code += 1) {
    const t = (code - 1) / (CODES - 2);
    const next = Math.max(1, stops.findIndex((stop) => stop[0] >= t));
    const [a, b] = [stops[next - 1], stops[next]];
    const part = (t - a[0]) / (b[0] - a[0]);
    const [red, green, blue] = [1, 2, 3].map((i) => Math.round(a[i] + (b[i] - a[i]) * part));
    words[code] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  return words;
}

/** The scale never ends below this share of an iteration; a shorter one makes the jitter of a healthy job glow. */
const LEAST_SHARE = 0.25;
/** The same where the iteration is not known, ms. */
const LEAST = 25;

/** A scale from milliseconds to codes 1…255: linear near zero, logarithmic above, so that 20 ms and 20 s fit one picture. */
export class Scale {
  /**
   * @param {number} worst largest lateness in view, ms
   * @param {number|null} iteration seconds an iteration takes
   */
  constructor(worst, iteration) {
    const least = iteration ? iteration * 1000 * LEAST_SHARE : LEAST;
    this.knee = least / 2;
    this.top = nice(Math.max(worst || 0, least));
    this.factor = 1 / Math.log1p(this.top / this.knee);
  }

  same(other) {
    return other !== null && this.top === other.top && this.knee === other.knee;
  }

  /** 0…1 along the scale. */
  share(ms) {
    return Math.min(1, Math.log1p(Math.max(0, ms) / this.knee) * this.factor);
  }

  code(ms) {
    return Number.isNaN(ms) ? 0 : 1 + Math.round(this.share(ms) * (CODES - 2));
  }

  /** Values to write below the colours, ms; *room* is the share of the bar that one word takes. */
  ticks(room = 0.13) {
    const values = [0];
    for (let decade = 10 ** Math.floor(Math.log10(this.top)); values.length < 12 && decade > this.knee / 5; decade /= 10) {
      for (const digit of [5, 2, 1]) if (digit * decade < this.top * 0.75) values.push(digit * decade);
    }
    values.push(this.top);
    const kept = [];
    for (const value of values.sort((a, b) => a - b)) {
      while (value === this.top && kept.length > 1 && 1 - this.share(kept.at(-1)) < room) kept.pop();
      if (!kept.length || this.share(value) - this.share(kept.at(-1)) >= room) kept.push(value);
    }
    return kept;
  }
}

/** The next 1, 2 or 5 times a power of ten. */
function nice(value) {
  const decade = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((digit) => digit * decade >= value * 0.999) * decade;
}
