/** Gaussians -> pixels on the processor: exact, in slices of time. For machines without WebGL2, and for tests. */

import { CUTOFF, GRID, RECORD_BYTES, SCALE_BIAS, SCALE_UNITS, filterVariance } from "./gaussians.js";
import { room } from "./grain.js";

const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const value = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
  return bits & 0x8000 ? -value : value;
});
const EDGE = Math.exp(-(CUTOFF ** 2) / 2);

/** What a ring is drawn with: the colour, whatever its sign and strength. */
function hue(color) {
  const most = Math.max(...color.map(Math.abs), 1e-6);
  return color.map((value) => (0.8 * Math.abs(value)) / most);
}

/** The sums of a view. */
export class Raster {
  constructor(view, mode = "image") {
    this.view = view;
    this.sums = new Float32Array(4 * view.columns * view.rows); // red, green, blue, opacity
    this.isRing = mode === "ellipses";
    this.scaleX = view.columns / view.width;
    this.scaleY = view.rows / view.height;
    this.varianceX = filterVariance(this.scaleX);
    this.varianceY = filterVariance(this.scaleY);
  }

  /** Adds the Gaussians of a group from the one at `from` on until `deadline`; returns where to go on. */
  add(group, from = 0, deadline = Infinity) {
    const floats = new Float32Array(group.records);
    const words = new Uint16Array(group.records);
    for (let i = from; i < group.count; i++) {
      if ((i & 63) === 63 && performance.now() > deadline) return i;
      this.#splat(floats, (i * RECORD_BYTES) >> 2, words, (i * RECORD_BYTES) >> 1, group.isAlpha);
    }
    return group.count;
  }

  #splat(floats, float, words, word, isAlpha) {
    const { sums, view, isRing, scaleX, scaleY, varianceX, varianceY } = this;
    const { columns, rows } = view;
    const u2 = 2 ** ((2 / SCALE_UNITS) * (words[word + 4] - SCALE_BIAS));
    const v2 = 2 ** ((2 / SCALE_UNITS) * (words[word + 5] - SCALE_BIAS));
    const angle = (Math.PI / 65536) * words[word + 6];
    const cosine = Math.cos(angle);
    const sine = Math.sin(angle);
    const flatX = cosine * cosine * u2 + sine * sine * v2;
    const flatY = sine * sine * u2 + cosine * cosine * v2;
    const xy = cosine * sine * (u2 - v2) * scaleX * scaleY;
    const determinant = u2 * v2 + flatX * varianceY + flatY * varianceX + varianceX * varianceY;
    const yy = (flatY + varianceY) * scaleY * scaleY; // in pixels of the output from here on
    const slope = xy / yy;
    const narrow = Math.sqrt((determinant * (scaleX * scaleY) ** 2) / yy); // deviation along a row
    const x = (floats[float] - view.x) * scaleX - 0.5;
    const y = (floats[float + 1] - view.y) * scaleY - 0.5;
    const reach = CUTOFF * Math.sqrt(yy);
    const top = Math.max(Math.ceil(y - reach), 0);
    const bottom = Math.min(Math.floor(y + reach), rows - 1);
    if (top > bottom) return;
    let red = HALVES[words[word + 7]];
    let green = HALVES[words[word + 8]];
    let blue = HALVES[words[word + 9]];
    if (isRing) [red, green, blue] = hue([red, green, blue]);
    const amplitude = isRing ? 1 : Math.sqrt((u2 * v2) / determinant) / (1 - EDGE);
    red *= amplitude;
    green *= amplitude;
    blue *= amplitude;
    const step = 1 / narrow;
    const bend = Math.exp(-step * step);
    for (let j = top; j <= bottom; j++) {
      const dy = j - y;
      const t1 = (dy * dy) / yy;
      const half = narrow * Math.sqrt(Math.max(CUTOFF ** 2 - t1, 0));
      const center = x + slope * dy;
      const left = Math.max(Math.ceil(center - half), 0);
      const right = Math.min(Math.floor(center + half), columns - 1);
      if (left > right) continue;
      let t0 = (left - center) * step;
      let weight = Math.exp(-0.5 * (t0 * t0 + t1));
      let factor = Math.exp(-step * (t0 + 0.5 * step)); // to the next pixel, and `bend` from factor to factor
      for (let at = 4 * (j * columns + left), end = 4 * (j * columns + right); at <= end; at += 4) {
        let w = weight - EDGE;
        if (isRing) {
          const r = Math.sqrt(t0 * t0 + t1); // its slope makes the ring a pixel thick
          const steep = Math.hypot(t0 * step, dy / yy - t0 * step * slope) / r;
          w = Math.max(1 - Math.abs(r - 1) / steep, 0);
          t0 += step;
        }
        if (isAlpha) {
          sums[at + 3] += w * red;
        } else {
          sums[at] += w * red;
          sums[at + 1] += w * green;
          sums[at + 2] += w * blue;
        }
        weight *= factor;
        factor *= bend;
      }
    }
  }

  /**
   * Red, green, blue and opacity, 0 to 255. `mask` has the opacity that is added to that of the Gaussians; `table` is
   * what `colorTable` makes; `grain` a Grain.
   */
  pixels(hasAlpha = false, { mask = null, table = null, grain = null } = {}) {
    const { sums } = this;
    const pixels = new Uint8ClampedArray(sums.length);
    const noise = grain && !this.isRing ? grain.at(this.view) : null;
    for (let i = 0; i < sums.length; i += 4) {
      let [red, green, blue] = [sums[i], sums[i + 1], sums[i + 2]];
      if (noise) {
        const added = noise[i >> 2] * room(red, green, blue);
        red += added;
        green += added;
        blue += added;
      }
      if (table) {
        interpolate(table, red, green, blue, pixels, i);
      } else {
        pixels[i] = Math.floor(255 * red + 0.5);
        pixels[i + 1] = Math.floor(255 * green + 0.5);
        pixels[i + 2] = Math.floor(255 * blue + 0.5);
      }
      const opacity = hasAlpha ? Math.max(sums[i + 3], 0) + (mask ? mask[i >> 2] : 0) : 1;
      pixels[i + 3] = Math.floor(255 * opacity + 0.5);
    }
    return pixels;
  }
}

/** Converts RGBA of 16 bits by a table, to one of 8. */
export function convert(table, samples, pixels) {
  for (let i = 0; i < samples.length; i += 4) {
    interpolate(table, samples[i] / 65535, samples[i + 1] / 65535, samples[i + 2] / 65535, pixels, i);
    pixels[i + 3] = Math.floor(samples[i + 3] / 257 + 0.5);
  }
}

function interpolate(table, redIn, greenIn, blueIn, pixels, i) {
  const grid = (value) => Math.min(Math.max(value, 0), 1) * (GRID - 1);
  const [r, g, b] = [grid(redIn), grid(greenIn), grid(blueIn)];
  const [r0, g0, b0] = [Math.floor(r), Math.floor(g), Math.floor(b)];
  let [red, green, blue] = [0.5, 0.5, 0.5];
  for (let corner = 0; corner < 8; corner++) {
    const [x, y, z] = [r0 + (corner & 1), g0 + ((corner >> 1) & 1), b0 + (corner >> 2)];
    const share = (1 - Math.abs(r - x)) * (1 - Math.abs(g - y)) * (1 - Math.abs(b - z));
    if (share === 0) continue; // also beyond the grid
    const at = 4 * ((z * GRID + y) * GRID + x);
    red += share * table[at];
    green += share * table[at + 1];
    blue += share * table[at + 2];
  }
  pixels[i] = Math.floor(red);
  pixels[i + 1] = Math.floor(green);
  pixels[i + 2] = Math.floor(blue);
}

/** The pixels that the box around each sample covers along an axis, and its share of them. */
function boxes(begin, span, samples, side) {
  const step = span / samples;
  const half = Math.max(1, step) / 2;
  return Array.from({ length: samples }, (_, i) => {
    const middle = begin + (i + 0.5) * step;
    const shares = [];
    for (let pixel = Math.floor(middle - half); pixel < middle + half; pixel++) {
      const share = (Math.min(middle + half, pixel + 1) - Math.max(middle - half, pixel)) / (2 * half);
      shares.push([Math.min(Math.max(pixel, 0), side - 1), share]);
    }
    return shares;
  });
}

/** The mean opacity [columns * rows] of the parts of a mask over the box of each sample of a view. */
export function maskOpacity(parts, view, { width, height }) {
  const { columns, rows } = view;
  const result = new Float32Array(columns * rows);
  const across = boxes(view.x, view.width, columns, width);
  const down = boxes(view.y, view.height, rows, height);
  const first = across[0][0][0];
  const last = across[columns - 1].at(-1)[0];
  const line = new Float32Array(last - first + 1);
  for (let j = 0; j < rows; j++) {
    line.fill(0);
    for (const [y, share] of down[j]) {
      for (const part of parts) {
        if (y < part.y || y >= part.y + part.height) continue;
        const row = (y - part.y) * part.width - part.x;
        const end = Math.min(part.x + part.width - 1, last);
        for (let x = Math.max(part.x, first); x <= end; x++) line[x - first] += share * part.levels[row + x];
      }
    }
    for (let i = 0; i < columns; i++) {
      let sum = 0;
      for (const [x, share] of across[i]) sum += share * line[x - first];
      result[j * columns + i] = sum / 15;
    }
  }
  return result;
}
