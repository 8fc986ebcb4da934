/** Grain: noise in the place of texture that a file has lost, written from docs/format.md. */

export const NOISE_SIDE = 256;
export const BANDS = 3;
const NUDGE = 1 / 1021; // whole positions do not hang on how they are rounded
const NORMS = [1103, 203, 29];

/** The sum of 1, 2, 1 times places of the noise, which repeats, `distance` apart along both axes. */
function smoothed(plane, distance) {
  const at = (x, y) => (y & (NOISE_SIDE - 1)) * NOISE_SIDE + (x & (NOISE_SIDE - 1));
  const sum = (from, dx, dy) =>
    from.map((value, i) => {
      const [x, y] = [i % NOISE_SIDE, Math.floor(i / NOISE_SIDE)];
      return from[at(x - dx, y - dy)] + 2 * value + from[at(x + dx, y + dy)];
    });
  return sum(sum(plane, distance, 0), 0, distance);
}

function makeNoise() {
  let plane = Int32Array.from({ length: NOISE_SIDE ** 2 }, (_, i) => {
    let bits = Math.imul(i ^ (i >>> 16), 0x7feb352d);
    bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b);
    bits ^= bits >>> 16;
    return (bits & 255) + ((bits >>> 8) & 255) + ((bits >>> 16) & 255) + (bits >>> 24) - 510;
  });
  const bands = new Int8Array(BANDS * NOISE_SIDE ** 2);
  NORMS.forEach((norm, band) => {
    const smooth = smoothed(plane, 1 << band);
    const values = plane.map((value, i) => ((16 * value - smooth[i]) * norm + 32768) >> 16);
    bands.set(
      values.map((value) => Math.min(Math.max(value, -127), 127)),
      band * NOISE_SIDE ** 2,
    );
    plane = smooth;
  });
  return bands;
}

let made = null;

/** The noise of each band, [BANDS, NOISE_SIDE, NOISE_SIDE]. */
export function noise() {
  return (made ??= makeNoise());
}

/** The grain of a file of `header`: `levels` [bands, rows, columns] as `decodeGrain` finds them. */
export class Grain {
  constructor({ cellLog2, bands, levels }, { width, height }) {
    this.cell = 2 ** cellLog2;
    this.bands = bands;
    this.columns = ((width - 1) >> cellLog2) + 1;
    this.rows = ((height - 1) >> cellLog2) + 1;
    /** Over the noise's standard deviation. */
    this.strengths = Float32Array.from(levels, (level) => (level ? 2 ** ((level - 1) / 2) / (510 * 32) : 0));
  }

  /** What a view leaves of each band. */
  parts({ width, height, columns, rows }) {
    const scale = Math.min(columns / width, rows / height);
    return Float32Array.from({ length: BANDS }, (_, band) => Math.min(Math.max(2 ** (band + 1) * scale - 1, 0), 1));
  }

  /** Where the samples of a view lie, along both axes. */
  axes({ x, y, width, height, columns, rows }) {
    return [this.#axis(x, width, columns, this.columns), this.#axis(y, height, rows, this.rows)];
  }

  /**
   * [3, samples, 4]: of the pixel that a sample lies in and of the next one the places in the noise, then the part of the
   * next one, which is 0 unless pixels are enlarged; the cells that the first lies between and the part of the second of
   * these; the same of the next one. The fourth number is not used.
   */
  #axis(begin, extent, samples, cells) {
    const axis = new Float32Array(12 * samples);
    const isEnlarged = samples > extent;
    for (let i = 0; i < samples; i++) {
      const position = begin + ((i + 0.5) * extent) / samples;
      const place = isEnlarged ? position - 0.5 : Math.floor(position + NUDGE);
      const pixel = Math.floor(place);
      axis.set([pixel & (NOISE_SIDE - 1), (pixel + 1) & (NOISE_SIDE - 1), place - pixel], 4 * i);
      for (const next of [0, 1]) {
        const at = Math.min(Math.max((pixel + next + 0.5) / this.cell - 0.5, 0), cells - 1);
        const cell = Math.floor(at);
        axis.set([cell, Math.min(cell + 1, cells - 1), at - cell], 4 * ((1 + next) * samples + i));
      }
    }
    return axis;
  }

  /** The grain at every sample of a view, [columns * rows], before it is fitted to what is rendered. */
  at(view) {
    const { columns, rows } = view;
    const [across, down] = this.axes(view);
    const parts = this.parts(view);
    const result = new Float32Array(columns * rows);
    for (let j = 0; j < rows; j++) {
      const part = down[4 * j + 2];
      for (let i = 0; i < columns; i++) {
        const along = across[4 * i + 2];
        const row = (next) => {
          const first = this.#ofPixel(across, i, 0, down, j, next, parts);
          return along ? first + along * (this.#ofPixel(across, i, 1, down, j, next, parts) - first) : first;
        };
        const above = row(0);
        result[j * columns + i] = part ? above + part * (row(1) - above) : above;
      }
    }
    return result;
  }

  /** The grain of one of the pixels that a sample lies between: `nextX`, `nextY` are 0 or 1. */
  #ofPixel(across, i, nextX, down, j, nextY, parts) {
    const x = (1 + nextX) * (across.length / 3) + 4 * i;
    const y = (1 + nextY) * (down.length / 3) + 4 * j;
    const place = down[4 * j + nextY] * NOISE_SIDE + across[4 * i + nextX];
    const bands = noise();
    let sum = 0;
    for (let band = 0; band < this.bands; band++) {
      if (!parts[band]) continue;
      const along = (row) => {
        const at = (band * this.rows + row) * this.columns;
        const low = this.strengths[at + across[x]];
        return low + across[x + 2] * (this.strengths[at + across[x + 1]] - low);
      };
      const above = along(down[y]);
      const strength = above + down[y + 2] * (along(down[y + 1]) - above);
      sum += parts[band] * bands[band * NOISE_SIDE ** 2 + place] * strength;
    }
    return sum;
  }
}

/** What is left of grain where these are rendered. */
export function room(red, green, blue) {
  const luma = (red + 2 * green + blue) / 4;
  return Math.min(Math.max(4 * Math.min(luma, 1 - luma), 0), 1);
}
