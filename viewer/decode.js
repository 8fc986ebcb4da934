/**
 * A decoder of .sspl files, written from docs/format.md: chunks -> symbols -> Gaussians, and masks.
 *
 * Nothing here needs a page: it runs in a worker, in Node and in Deno.
 */

import { check, view } from "./container.js";
import { CUTOFF, RECORD_BYTES, SCALE_BIAS, TILE } from "./gaussians.js";

// ---- Tables ---------------------------------------------------------------------------------------------------------

const EXP2 = Int32Array.from({ length: 8 }, (_, i) => Math.floor(16384 * 2 ** (i / 8) + 0.5));
const SHAPE = Int32Array.from({ length: 129 }, (_, i) =>
  i ? Math.floor(8 * Math.log2(2 ** (i / 16) - 2 ** (-i / 16)) + 0.5) : -1000,
);
const SQUARED = Int32Array.from({ length: 97 }, (_, i) => Math.floor(4096 * 2 ** (-i / 8) + 0.5));
const COSINE2 = Int32Array.from({ length: 256 }, (_, i) => Math.floor(4096 * Math.cos((Math.PI * i) / 256) ** 2 + 0.5));

/** Weights of the sixteen tokens in each context, a hexadecimal digit each: gap ... escape, kind, level. */
const PRIORS = `
002446689aaccddc 0023345779acbccc 00122335588aacbb 0011122335689aba 0011010113356898 0011010101233666 1122110101021344
0112121101010222 dddb963101369acc cccc964100135799 cccb863100235788 ccca853100235677 ccba742100235676 ccb8632000134564
bba7531000123454 cb97542000123465 3321100011234676 7753100012345688 7753100012345688 7753210012345677 7653210001345677
8753210001245677 dddb962002479bcc ddddda400148cddd 02248eeeeeeeeeee 100236ccccdddddd 1001347acccccccc 10001357abcccccc
1001123578aabccc 1001123357668bbb 1001233448942bbb 1001234458880bbb 1011344567773bbb 0012345678999bcb 02357aeeeeeeeeee
0001247ccccccccc 10012468bccccccc 110013578abccccc 000123455899accc 1001123558888ccc 1001123437897ccc 1100012346788bbb
1100112234677bbb 100111234567abbb 0136eeeeeeeeeeee 0012bbbbbbbbbbbb 01356adddddddddd 0025758ddddddddd 1002464ccccccccc
1012578ddddddddd 2102472ddddddddd 2001366ccccccccc 1001457ccccccccc 1012357ccccccccc 0358ffffffffffff 0000000000000000
026678eeeeeeeeee 0000000000000000 0246878eeeeeeeee 0000000000000000 0224663ddddddddd 0000000000000000 3224550ddddddddd
1025684bbbbbbbbb 01eeeeeeeeeeeeee 00eeeeeeeeeeeeee 0111dddddddddddd 0011dddddddddddd 01111111bbbbbbbb 00111111bbbbbbbb
0011112111221111 0233444444444332 06ffffffffffffff 02efffffffffffff 3015eeeeeeeeeeee 6310138ddddddddd 865310012348cccc
9888764322211220 7766642100001120 08ffffffffffffff 0000000000000000 0000000000000000 0000000000000000 0000000000000000
0000000000000000 02bfffffffffffff 03efffffffffffff 0000000000000000 0000000000000000 0000000000000000 0000000000000000
015adeeeeeeeeeee 004adeeeeeeeeeee 3039eeeeeeeeeeee 0000000000000000 0000000000000000 0000000000000000 01469deeeeeeeeee
00358ddddddddddd 31024bdddddddddd 63013cdddddddddd 0000000000000000 0000000000000000 002447addddddddd 002447addddddddd
1011025ccccccccc 9763014ddddddddd a864014ddddddddd 0000000000000000 10132448addddddd 10122458addddddd 101212136ccccccc
b99852014ddddddd b9aa54024ddddddd ad7873014ddddddd 1012122347accccc 1012122447accccc 10010112137bbbbb bb8b9842026ddddd
badbba73026ddddd d9dd7863025ddddd 21110101122469aa 0012110113379bbb 0012111212258bbb bbaabc8732026ddd dddbda9962025ddd
ddad9b8a73038ddd 09ffffffffffffff 0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000
03dfffffffffffff 04ffffffffffffff 0000000000000000 0000000000000000 0000000000000000 0000000000000000 02aeffffffffffff
017eeeeeeeeeeeee 006deeeeeeeeeeee 0000000000000000 0000000000000000 0000000000000000 028defffffffffff 026adeeeeeeeeeee
00269ddddddddddd 00249ddddddddddd 0000000000000000 0000000000000000 0159beeeeeeeeeee 0158adeeeeeeeeee 002458bddddddddd
1013369ddddddddd 1023379ddddddddd 0000000000000000 003569bddddddddd 003569acdddddddd 00233679cddddddd 101213379ccccccc
10121227accccccc 101112247bbbbbbb 10133569addddddd 00233569acdddddd 0012134679bccccc 1011011225abbbbb 10110112369bbbbb
11010111256aaaaa 10010113366abbbb 00122324579bcccc 01222223578bcccc 212111011237abbb 211212021346bbbb 1002000101477aaa
01246eeeeeeeeeee 023558adeeeeeeee 0114347bbbbbbbbb 011226bbbcccdddd 000fffffffffffff 0555555555555550`;

const CONTEXTS = { gap: 8, energy: 8, scale: 8, ratio: 40, turn: 8, first: 7, second: 48, third: 48, escape: 4 };
const STRIDE = 18; // below[0..16] and how many tokens the context has seen

/** The distributions that rows of digits stand for. */
function distributions(rows) {
  const table = new Int32Array(rows.length * STRIDE);
  rows.forEach((row, context) => {
    const weights = Array.from(row, (digit) => {
      const exponent = -5 * parseInt(digit, 16);
      return EXP2[exponent & 7] >> -(exponent >> 3);
    });
    const all = weights.reduce((sum, weight) => sum + weight);
    let before = 0;
    for (let i = 0; i <= 16; i++) {
      table[context * STRIDE + i] = i + Math.floor((32752 * before) / all);
      before += weights[i] ?? 0;
    }
  });
  return table;
}

const PRIOR = distributions(PRIORS.match(/[0-9a-f]{16}/g));

/** Where the contexts of each number begin in the table of distributions. */
const AT = (() => {
  let next = 0;
  const at = {};
  for (const [number, contexts] of Object.entries(CONTEXTS)) {
    at[number] = next * STRIDE;
    next += contexts;
  }
  return { ...at, kind: next * STRIDE, level: (next + 1) * STRIDE };
})();

// ---- Entropy coding -------------------------------------------------------------------------------------------------

const length = (x) => 32 - Math.clz32(x);

/** The bytes of a group, read from both ends: tokens forwards, bypass bits backwards. */
class Coder {
  constructor(bytes, table) {
    this.size = bytes.length;
    this.forward = new Uint8Array(bytes.length + 8); // followed by zeros
    this.forward.set(bytes);
    this.backward = new Uint8Array(bytes.length + 8);
    this.backward.set(bytes);
    this.backward.subarray(0, bytes.length).reverse();
    this.table = table; // of distributions
    this.next = 4;
    this.taken = 0; // bypass bits
    this.state = new Uint32Array(1);
    this.state[0] = view(this.forward).getUint32(0, true);
  }

  /** A token of the distribution at a place of the table, which learns it. */
  token(at) {
    const { table, state } = this;
    const old = state[0];
    const slot = old & 32767;
    let token = table[at + 8] <= slot ? 8 : 0;
    if (table[at + token + 4] <= slot) token += 4;
    if (table[at + token + 2] <= slot) token += 2;
    if (table[at + token + 1] <= slot) token += 1;
    const below = table[at + token];
    const grown = (Math.imul(table[at + token + 1] - below, old >>> 15) + slot - below) >>> 0;
    if (grown < 65536) {
      const next = this.next;
      this.next = next + 2;
      if (next <= this.size) state[0] = (grown << 16) | this.forward[next] | (this.forward[next + 1] << 8);
      else state[0] = grown << 16;
    } else {
      state[0] = grown;
    }
    const seen = table[at + 17];
    const shift = seen < 16 ? 5 : seen < 64 ? 6 : 7;
    if (seen < 64) table[at + 17] = seen + 1;
    let i = 1;
    for (; i <= token; i++) table[at + i] += (i - table[at + i]) >> shift;
    for (; i < 16; i++) table[at + i] += (32752 + i - table[at + i]) >> shift;
    return token;
  }

  /** The integer of the next bypass bits, at most 31. */
  bypass(bits) {
    if (bits > 24) return this.bypass(24) + this.bypass(bits - 24) * 16777216;
    const { backward, taken } = this;
    const at = taken >> 3;
    this.taken = taken + bits;
    if (at > this.size) return 0;
    const word = backward[at] | (backward[at + 1] << 8) | (backward[at + 2] << 16) | (backward[at + 3] << 24);
    return (word >>> (taken & 7)) & ((1 << bits) - 1);
  }

  signed(size) {
    return size && this.bypass(1) ? -size : size;
  }

  magnitude(at) {
    const token = this.token(at);
    if (token < 4) return token;
    if (token < 15) {
      const n = (token >> 1) - 1;
      return ((2 + (token & 1)) << n) + this.bypass(n);
    }
    const n = this.bypass(5);
    return 191 + 2 ** n + this.bypass(n);
  }

  /** A bucketed number; a centred one if `middle` is 8. */
  bucketed(at, escape, digits, middle) {
    const token = this.token(at);
    let bucket = token - middle;
    if (token === 15) bucket += this.magnitude(AT.escape + escape * STRIDE);
    else if (token === 0 && middle) bucket -= this.magnitude(AT.escape + escape * STRIDE);
    return bucket * (1 << digits) + this.bypass(digits);
  }

  /** Both ends have not met. */
  checkEnds() {
    check(this.next + ((this.taken + 7) >> 3) <= this.size, "a group ends early");
  }

  /** Nothing is left between the two ends. */
  checkEnd() {
    let isEmpty = this.state[0] === 65536;
    const used = (this.taken + 7) >> 3;
    for (let i = this.next; i < this.size - used; i++) isEmpty &&= this.forward[i] === 0;
    if (this.taken & 7) isEmpty &&= this.backward[used - 1] >> (this.taken & 7) === 0;
    check(isEmpty, "a group goes on after its end");
  }
}

const step = (eighths) => {
  const e = eighths < 24 ? 24 : eighths > 80 ? 80 : eighths;
  return EXP2[e & 7] >> (14 - (e >> 3));
};

const sixteenths = (ratioUnits) => Math.min((ratioUnits + 32) >> 6, 128);

const angleBits = (eighths, ratioUnits) => {
  const bits = (SHAPE[sixteenths(ratioUnits)] + 9 - eighths) >> 3;
  return bits < 0 ? 0 : bits > 12 ? 12 : bits;
};

/** Eighths of log2 of a squared length in 4096ths, halved. */
const HALF = Int32Array.from({ length: 8193 }, (_, a) => {
  const n = length(Math.max(a, 1)) - 1;
  let k = 0;
  for (let i = 1; i < 8; i++) k += EXP2[i] <= Math.max(a, 1) * 2 ** (14 - n) ? 1 : 0;
  return Math.trunc((8 * (n - 12) + k) / 2);
});

/** Bits of the offset along both axes of a Gaussian, whose angle has so many bits: x + 16 y. */
function positionBits(plane, eighths, meanUnits, ratioUnits, angle, bits) {
  const c = COSINE2[(angle << 8) >> bits];
  const s = 4096 - c;
  const flat = SQUARED[Math.min(sixteenths(ratioUnits), 96)];
  const rest = 8 * plane.cellLog2 - ((meanUnits - (ratioUnits >> 1) + 64) >> 7) - eighths;
  const x = (rest + HALF[((c * flat) >> 12) + s]) >> 3;
  const y = (rest + HALF[((s * flat) >> 12) + c]) >> 3;
  return (x < 0 ? 0 : x > 14 ? 14 : x) + 16 * (y < 0 ? 0 : y > 14 ? 14 : y);
}

function learned(factor, error, by, size) {
  const most = 4 << size;
  const product = Math.min(Math.max(error, -most), most) * Math.min(Math.max(by, -most), most);
  const change = Math.floor((product * 4096 + 4 ** size) / 2 ** (2 * size + 1));
  return Math.min(Math.max(factor + change, -65536), 65536);
}

const evenBits = (x) => {
  x &= 0x55555555;
  x = (x | (x >>> 1)) & 0x33333333;
  x = (x | (x >>> 2)) & 0x0f0f0f0f;
  x = (x | (x >>> 4)) & 0x00ff00ff;
  return (x | (x >>> 8)) & 0xffff;
};

const MAX_COLOR = 1048575;

/** Integers of a Gaussian: cell x, y, energy, mean scale, ratio, angle, three of colour, offset x, y. */
export const SYMBOLS = 11;

/**
 * The symbols of a group: `count` times eleven integers.
 *
 * `plane` is the header's `color` or `alpha`.
 */
export function decodeSymbols({ count, coded }, plane) {
  const symbols = new Int32Array(count * SYMBOLS);
  const coder = new Coder(coded, PRIOR.slice());
  const columns = ((plane.width - 1) >> plane.cellLog2) + 1;
  const rows = ((plane.height - 1) >> plane.cellLog2) + 1;
  const { channels, quality } = plane;
  let [cell, gap1, gap2, energy16, scaleUnits, direction, elongated] = [0, 0, 0, 16, 1024, 0, 0];
  let [secondByFirst, thirdByFirst, thirdBySecond] = [0, 0, 0];
  for (let at = 0; at < symbols.length; at += SYMBOLS) {
    const mean = (gap1 + gap2) / 2;
    const gap = coder.magnitude(AT.gap + (mean >= 64 ? 7 : length(mean)) * STRIDE);
    cell += gap;
    gap2 = gap1;
    gap1 = gap;
    check(cell < 4294967296, "a cell outside the image");
    const x = evenBits(cell);
    const y = evenBits(cell >>> 1);
    check(x < columns && y < rows, "a cell outside the image");

    const context = gap >= 64 ? 7 : length(gap);
    const energyError = coder.bucketed(AT.energy + context * STRIDE, 0, 0, 8);
    const energy = Math.min(Math.max(((energy16 + 8) >> 4) + energyError, -8), 17);
    const eighths = 64 - quality - 8 * energy;
    const meanStep = step(eighths + 82);
    const ratioStep = step(eighths + 90);
    const fineness = length(meanStep) - 4;
    const digits = fineness < 5 ? 5 - fineness : 0;
    const surprise = 16 * energy - energy16;
    const guess = Math.floor((scaleUnits + surprise * 40 + (meanStep >> 1)) / meanStep);
    const found = guess + coder.bucketed(AT.scale + fineness * STRIDE, 1, digits, 8);
    const scale = Math.min(Math.max(found, -Math.trunc(2048 / meanStep)), Math.trunc(16384 / meanStep));
    const meanUnits = scale * meanStep;
    scaleUnits += (meanUnits - scaleUnits) >> 4;
    energy16 += surprise >> 4;

    const shape = (fineness > 4 ? 10 * (fineness - 4) : 0) + Math.min(Math.max((meanUnits >> 9) + 2, 0), 9);
    const ratio = Math.min(coder.bucketed(AT.ratio + shape * STRIDE, 2, digits, 0), Math.trunc(8192 / ratioStep));
    const ratioUnits = ratio * ratioStep;
    const bits = angleBits(eighths, ratioUnits);
    const lead = bits < 4 ? bits : 4;
    let turn = 0;
    if (bits) {
      turn = coder.token(AT.turn + (2 * (lead - 1) + elongated) * STRIDE) << (bits - lead);
      turn += coder.bypass(bits - lead);
    }
    const angle = (turn + (direction >> (12 - bits)) - ((1 << bits) >> (lead + 1))) & ((1 << bits) - 1);
    direction = angle << (12 - bits);
    elongated = ratioUnits > 1024 ? 1 : 0;

    const size = Math.min(Math.max(energy + ((quality - 64) >> 3) + 2, 0), 13);
    const ofFirst = AT.first + Math.min(size, 6) * STRIDE;
    const first = coder.signed(coder.bucketed(ofFirst, 3, size > 5 ? size - 5 : 0, 0));
    check(first <= MAX_COLOR && first >= -MAX_COLOR, "a colour out of range");
    let second = 0;
    let third = 0;
    if (channels === 3) {
      const absolute = length(first < 0 ? -first : first);
      const context = (6 * Math.min(size, 7) + Math.min(Math.max(size - absolute, 0), 5)) * STRIDE;
      const n = size > 7 ? size - 7 : 0;
      const error1 = coder.signed(coder.magnitude(AT.second + context) * (1 << n) + coder.bypass(n));
      second = Math.floor((secondByFirst * first + 2048) / 4096) + error1;
      check(second <= MAX_COLOR && second >= -MAX_COLOR, "a colour out of range");
      secondByFirst = learned(secondByFirst, error1, first, size);
      const error2 = coder.signed(coder.magnitude(AT.third + context) * (1 << n) + coder.bypass(n));
      third = Math.floor((thirdByFirst * first + thirdBySecond * second + 2048) / 4096) + error2;
      check(third <= MAX_COLOR && third >= -MAX_COLOR, "a colour out of range");
      thirdByFirst = learned(thirdByFirst, error2, first, size);
      thirdBySecond = learned(thirdBySecond, error2, second, size);
    }
    const offsets = positionBits(plane, eighths, meanUnits, ratioUnits, angle, bits);
    symbols[at] = x;
    symbols[at + 1] = y;
    symbols[at + 2] = energy;
    symbols[at + 3] = scale;
    symbols[at + 4] = ratio;
    symbols[at + 5] = angle;
    symbols[at + 6] = first;
    symbols[at + 7] = second;
    symbols[at + 8] = third;
    symbols[at + 9] = coder.bypass(offsets & 15);
    symbols[at + 10] = coder.bypass(offsets >> 4);
    coder.checkEnds();
  }
  coder.checkEnd();
  return symbols;
}

// ---- Masks ----------------------------------------------------------------------------------------------------------

/** Levels 0 to 15 of a part of alpha's mask: { x, y, width, height, levels }, a byte a pixel. */
export function decodeMask({ count, extent, coded }, plane) {
  const [x, y] = [TILE * extent[0], TILE * extent[1]];
  const width = Math.min(TILE * extent[2], plane.width) - x;
  const height = Math.min(TILE * extent[3], plane.height) - y;
  const [columns, rows] = [(width + 7) >> 3, (height + 7) >> 3];
  const table = new Int32Array(108 * STRIDE);
  for (let i = 0; i < 108; i++) table.set(PRIOR.subarray(i < 27 ? AT.kind : AT.level).subarray(0, STRIDE), i * STRIDE);
  const coder = new Coder(coded, table);
  const across = columns + 2; // kinds, and levels below, have a column of zeros at either side and a row above
  const kinds = new Uint8Array(across * (rows + 1));
  let mixed = 0;
  for (let j = 1; j <= rows; j++) {
    for (let at = j * across + 1; at <= j * across + columns; at++) {
      kinds[at] = coder.token((9 * kinds[at - 1] + 3 * kinds[at - across] + kinds[at - across + 1]) * STRIDE);
      check(kinds[at] <= 2, "a block of an unknown kind");
      coder.checkEnds();
      mixed += kinds[at] >> 1;
    }
  }
  check(mixed === count, `a mask claims ${count} mixed blocks and has ${mixed}`);
  const levels = new Uint8Array(width * height);
  let above = new Uint8Array(width + 2); // states of the last row: 0, 1 or 2 for opaque
  let states = new Uint8Array(width + 2);
  for (let j = 0; j < height; j++) {
    const kindRow = ((j >> 3) + 1) * across + 1;
    for (let i = 0; i < width; i++) {
      const kind = kinds[kindRow + (i >> 3)];
      let level = 15 * kind;
      if (kind === 2) {
        const context = 27 * states[i] + 9 * above[i] + 3 * above[i + 1] + above[i + 2];
        level = coder.token((27 + context) * STRIDE);
        coder.checkEnds();
      }
      levels[j * width + i] = level;
      states[i + 1] = level === 15 ? 2 : level ? 1 : 0;
    }
    [above, states] = [states, above];
  }
  coder.checkEnd();
  return { x, y, width, height, levels };
}

// ---- Grain ----------------------------------------------------------------------------------------------------------

const GRAIN_PRIORS = Array.from({ length: 16 }, (_, expected) =>
  Array.from({ length: 16 }, (_, token) => Math.min(2 * Math.abs(token - expected), 15).toString(16)).join(""),
);

/** Levels 0 to 15 of grain: { cellLog2, bands, levels }, [bands, rows, columns]. */
export function decodeGrain({ cellLog2, bands, coded }, { width, height }) {
  const columns = ((width - 1) >> cellLog2) + 1;
  const rows = ((height - 1) >> cellLog2) + 1;
  const coder = new Coder(coded, distributions(GRAIN_PRIORS));
  const levels = new Uint8Array(bands * rows * columns);
  const neighbours = (at, x, y) => {
    if (!x && !y) return 0;
    return (levels[x ? at - 1 : at - columns] + levels[y ? at - columns : at - 1] + 1) >> 1;
  };
  for (let at = 0, band = 0; band < bands; band++) {
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++, at++) {
        let expected = neighbours(at, x, y);
        const finer = at - rows * columns;
        if (band) expected += levels[finer] - neighbours(finer, x, y);
        levels[at] = coder.token(Math.min(Math.max(expected, 0), 15) * STRIDE);
        coder.checkEnds();
      }
    }
  }
  coder.checkEnd();
  return { cellLog2, bands, levels };
}

// ---- Dequantisation -------------------------------------------------------------------------------------------------

const AXES = [3, 2, 6].map((squared, i) =>
  [
    [1, 1, 1],
    [1, 0, -1],
    [1, -2, 1],
  ][i].map((a) => a / Math.sqrt(squared)),
);

const floatBits = new Float32Array(1);
const integerBits = new Int32Array(floatBits.buffer);

/** The nearest 16-bit float, at most 65504. */
export function toHalf(value) {
  floatBits[0] = Math.min(Math.max(value, -65504), 65504);
  const bits = integerBits[0];
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 255) - 112;
  if (exponent <= 0) return sign | Math.round(Math.abs(floatBits[0]) * 16777216); // subnormal: units of 2^-24
  const rounded = (exponent << 10) + (((bits & 0x7fffff) + 0x1000) >> 13); // a carry enters the exponent, as it should
  return sign | Math.min(rounded, 0x7bff);
}

/**
 * Gaussians from symbols: { records, count, area, volume }. `area` is the sum of their ellipses in square pixels, each
 * at most the image; `volume` the most of |colour| u v, in any channel.
 */
export function dequantize(symbols, plane) {
  const count = symbols.length / SYMBOLS;
  const buffer = new ArrayBuffer(count * RECORD_BYTES);
  const floats = new Float32Array(buffer);
  const words = new Uint16Array(buffer);
  let area = 0;
  let volume = 0;
  for (let i = 0; i < count; i++) {
    const at = i * SYMBOLS;
    const energy = symbols[at + 2];
    const eighths = 64 - plane.quality - 8 * energy;
    const meanUnits = symbols[at + 3] * step(eighths + 82);
    const ratioUnits = symbols[at + 4] * step(eighths + 90);
    const angle = symbols[at + 5];
    const bits = angleBits(eighths, ratioUnits);
    const offsets = positionBits(plane, eighths, meanUnits, ratioUnits, angle, bits);
    const cell = 2 ** plane.cellLog2;
    const float = (i * RECORD_BYTES) >> 2;
    floats[float] = (symbols[at] + (symbols[at + 9] + 0.5) / (1 << (offsets & 15))) * cell;
    floats[float + 1] = (symbols[at + 1] + (symbols[at + 10] + 0.5) / (1 << (offsets >> 4))) * cell;
    const word = (i * RECORD_BYTES) >> 1;
    words[word + 4] = 2 * meanUnits + ratioUnits + SCALE_BIAS;
    words[word + 5] = 2 * meanUnits - ratioUnits + SCALE_BIAS;
    words[word + 6] = angle << (16 - bits);
    const product = 2 ** (meanUnits / 512); // u v
    area += Math.min(CUTOFF ** 2 * Math.PI * product, plane.width * plane.height);
    const [a0, a1, a2] = AXES;
    const unit = 2 ** ((64 - plane.quality - 7 - ((meanUnits + 64) >> 7)) / 8);
    const [c0, c1, c2] = [symbols[at + 6] * unit, symbols[at + 7] * unit, symbols[at + 8] * unit];
    volume = Math.max(volume, product * (Math.abs(c0) + Math.abs(c1) + Math.abs(c2)));
    if (plane.channels === 3) {
      for (let c = 0; c < 3; c++) words[word + 7 + c] = toHalf(a0[c] * c0 + a1[c] * c1 + a2[c] * c2);
    } else {
      words.fill(toHalf(c0), word + 7, word + 10);
    }
  }
  return { records: buffer, count, area, volume };
}
