/**
 * The container of .sspl files, written from docs/format.md: bytes, as they arrive -> chunks.
 *
 * Every length is checked before anything is allocated for it.
 */

import { crc32 } from "./crc32.js";
import { TILE } from "./gaussians.js";

/** The bytes are no .sspl file, or a damaged one. */
export class FormatError extends Error {
  name = "FormatError";
}

/** The file needs a newer decoder. */
export class UnsupportedError extends FormatError {
  name = "UnsupportedError";
}

/** The file claims more than a limit allows. */
export class LimitError extends FormatError {
  name = "LimitError";
}

/** What a file may claim. `overlap`: Gaussians over a pixel, on average. */
export const LIMITS = Object.freeze({
  side: 1 << 22,
  pixels: 2 ** 32,
  gaussians: 1 << 26,
  fileBytes: 2 ** 31,
  metadataBytes: 1 << 24,
  overlap: 1024,
});

/** Position cells a side, at most. */
const MAX_CELLS = 65536;

const SIGNATURE = [0x89, 0x53, 0x53, 0x50, 0x0d, 0x0a, 0x1a, 0x0a];
const MAJOR = 4;
const HEADER_BYTES = 36;
const MAX_CHUNKS = 1 << 16;
const PACKED = ["iccp", "exif", "xmp ", "iptc", "geot"];

export function check(condition, problem, Kind = FormatError) {
  if (!condition) throw new Kind(problem);
}

export const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * Reads a file as its bytes arrive.
 *
 * `push` takes the next bytes and returns the chunks that are complete with them, checked; `end` says that no more
 * follow. `header` is null until the table of contents is complete.
 */
export class FileReader {
  header = null;
  #limits;
  #pieces = [];
  #held = 0;
  #next = 0; // entry of the table of contents
  #position = 0; // bytes taken
  #counted = 0;
  #index = null; // a copy of each group's header
  #groups = 0;
  #seen = new Set();
  #masked = null;

  constructor(limits = LIMITS) {
    this.#limits = limits;
  }

  /** Bytes of the whole file; 0 until the table of contents is complete. */
  get size() {
    return this.header ? this.header.bytes : 0;
  }

  push(bytes) {
    if (bytes.length) this.#pieces.push(bytes);
    this.#held += bytes.length;
    if (!this.header && !this.#readHeader()) return [];
    const chunks = [];
    const { entries } = this.header;
    while (this.#next < entries.length && this.#held >= entries[this.#next].stored) {
      const entry = entries[this.#next];
      const body = this.#take(entry.stored);
      check(crc32(body) === entry.crc, `chunk ${this.#next} is damaged: its checksum does not match`);
      const chunk = this.#chunk(this.#next++, entry, body);
      if (chunk) chunks.push(chunk);
    }
    if (this.#next === entries.length) {
      check(!this.#index || this.#index.length === 12 * this.#groups, "the index is of another number of groups");
      check(this.#held === 0, `${this.#held} bytes follow the last chunk`);
      check(
        this.#counted === this.header.gaussians,
        `the header claims ${this.header.gaussians} Gaussians, the chunks hold another number`,
      );
    }
    return chunks;
  }

  /** The file is complete, or FormatError says where it ends. */
  end() {
    const bytes = this.#position + this.#held;
    check(bytes > 0, "not a SmartSplat file: the signature is missing");
    check(this.header, `truncated: the file ends after ${bytes} bytes, inside its header or table of contents`);
    check(this.#next === this.header.entries.length, `truncated: the file ends after ${bytes} of ${this.size} bytes`);
  }

  #joined(count) {
    if (this.#pieces.length > 1 && this.#pieces[0].length < count) {
      const pieces = this.#pieces;
      const joined = new Uint8Array(this.#held);
      let at = 0;
      for (const piece of pieces) {
        joined.set(piece, at);
        at += piece.length;
      }
      this.#pieces = [joined];
    }
    return this.#pieces[0] ?? new Uint8Array();
  }

  #take(count) {
    const first = this.#joined(count);
    const body = first.slice(0, count);
    if (count === first.length) this.#pieces.shift();
    else if (count) this.#pieces[0] = first.subarray(count);
    this.#held -= count;
    this.#position += count;
    return body;
  }

  #readHeader() {
    const head = this.#joined(HEADER_BYTES);
    for (let i = 0; i < Math.min(head.length, SIGNATURE.length); i++) {
      check(head[i] === SIGNATURE[i], "not a SmartSplat file: the signature is missing");
    }
    if (head.length > 8) {
      const text = `the file has format version ${head[8]}, this reader knows version ${MAJOR}`;
      check(head[8] === MAJOR, text, UnsupportedError);
    }
    if (head.length < HEADER_BYTES) return false;
    const chunks = view(head).getUint32(32, true);
    check(chunks <= MAX_CHUNKS, `the header claims ${chunks} chunks, the most is ${MAX_CHUNKS}`);
    const end = HEADER_BYTES + 16 * chunks;
    if (this.#held < end + 4) return false;
    const table = view(this.#joined(end + 4)); // the header, the table of contents and their checksum
    const bytes = this.#take(end + 4);
    const crc = table.getUint32(end, true);
    check(crc32(bytes.subarray(0, end)) === crc, "the header is damaged: its checksum does not match");
    const header = parseHeader(table, this.#limits);
    header.entries = Array.from({ length: chunks }, (_, i) => {
      const at = HEADER_BYTES + 16 * i;
      return {
        type: String.fromCharCode(...bytes.subarray(at, at + 4)),
        stored: table.getUint32(at + 4, true),
        unpacked: table.getUint32(at + 8, true),
        crc: table.getUint32(at + 12, true),
      };
    });
    header.bytes = header.entries.reduce((sum, entry) => sum + entry.stored, end + 4);
    const { fileBytes } = this.#limits;
    check(header.bytes <= fileBytes, `the file claims ${header.bytes} bytes, the limit is ${fileBytes}`, LimitError);
    this.header = header;
    return true;
  }

  #chunk(index, { type, unpacked }, body) {
    const isPacked = PACKED.includes(type);
    if (isPacked || ["dens", "grai", "indx"].includes(type)) {
      check(!this.#seen.has(type), `chunk ${index} is a second "${type}"`);
      this.#seen.add(type);
      const { metadataBytes } = this.#limits;
      const text = `chunk ${index} claims ${unpacked} bytes of "${type}", the limit is ${metadataBytes}`;
      check(unpacked <= metadataBytes, text, LimitError);
      if (isPacked) return { type, body, unpacked };
      if (type === "grai") return parseGrain(index, body, unpacked);
      if (type === "indx") return this.#takeIndex(index, body, unpacked);
      const isDensity = body.length === 8 && unpacked === 8 && view(body).getUint32(0) && view(body).getUint32(4);
      check(isDensity, `chunk ${index} is no density`);
      return { type, body, unpacked };
    }
    if (!["GAUS", "ALPH", "MASK"].includes(type)) {
      const isAncillary = type.charCodeAt(0) & 0x20;
      check(isAncillary, `chunk ${index} has the unknown type "${type}", which is needed`, UnsupportedError);
      return null;
    }
    check(unpacked === body.length, `chunk ${index} of ${body.length} bytes claims ${unpacked}, but is not packed`);
    check(type === "GAUS" || this.header.alpha, `chunk ${index} is alpha of an image that has none`);
    check(body.length >= 12, `chunk ${index} is too short for a group`);
    const header = this.#index?.subarray(12 * this.#groups, 12 * (this.#groups + 1));
    this.#groups++;
    const isListed = !header || (header.length === 12 && header.every((byte, i) => byte === body[i]));
    check(isListed, `chunk ${index} is another one in the index`);
    const fields = view(body);
    const count = fields.getUint32(0, true);
    const extent = [4, 6, 8, 10].map((at) => fields.getUint16(at, true));
    const coded = body.subarray(12);
    const most = coded.length * (type === "MASK" ? 4 : 1);
    check(count <= most, `chunk ${index} claims ${count} Gaussians or blocks in ${coded.length} bytes`);
    const [x0, y0, x1, y1] = extent;
    check(x0 <= x1 && y0 <= y1, `chunk ${index} claims to reach from tile ${x0},${y0} back to ${x1},${y1}`);
    if (type === "MASK") this.#cover(index, extent);
    else this.#counted += count;
    return { type, count, extent, coded };
  }

  /** Keeps the copies of the groups' headers, with which they are compared. */
  #takeIndex(index, body, unpacked) {
    const isIndex = body.length % 12 === 0 && unpacked === body.length && !this.#groups;
    check(isIndex, `chunk ${index} is no index, or comes after groups`);
    this.#index = body;
    return null;
  }

  /** Notes the tiles of a part of the mask, each of which may have one. */
  #cover(index, [x0, y0, x1, y1]) {
    const columns = Math.ceil(this.header.width / TILE);
    const rows = Math.ceil(this.header.height / TILE);
    check(x0 < x1 && y0 < y1 && x1 <= columns && y1 <= rows, `chunk ${index} is a mask outside the image`);
    this.#masked ??= new Uint8Array(columns * rows);
    for (let y = y0; y < y1; y++) {
      const row = this.#masked.subarray(y * columns + x0, y * columns + x1);
      check(!row.includes(1), `chunk ${index} is a second mask of the same place`);
      row.fill(1);
    }
  }
}

function parseGrain(index, body, unpacked) {
  check(unpacked === body.length, `chunk ${index} of ${body.length} bytes claims ${unpacked}, but is not packed`);
  const [cellLog2, bands] = body;
  const isGrain = body.length >= 2 && cellLog2 >= 6 && cellLog2 <= 12 && bands >= 1 && bands <= 3;
  check(isGrain, `chunk ${index} is no grain`);
  return { type: "grai", cellLog2, bands, coded: body.subarray(2) };
}

function parseHeader(table, limits) {
  const byte = (at) => table.getUint8(at);
  const [channels, depth, primaries, transfer] = [10, 11, 20, 21].map(byte);
  const [quality, cellLog2, alpha, alphaQuality, alphaCellLog2, reserved] = [22, 23, 24, 25, 26, 27].map(byte);
  const [width, height, gaussians] = [12, 16, 28].map((at) => table.getUint32(at, true));
  check(reserved === 0, "the header has reserved bits set");
  const isImage = width && height && (channels === 1 || channels === 3);
  check(isImage, `impossible image: ${width} x ${height} pixels, ${channels} channels`);
  const fits = Math.max(width, height) <= limits.side && width * height <= limits.pixels;
  check(fits, `the image has ${width} x ${height} pixels, which is above the limits`, LimitError);
  const text = `the file claims ${gaussians} Gaussians, the limit is ${limits.gaussians}`;
  check(gaussians <= limits.gaussians, text, LimitError);
  check(depth >= 1 && depth <= 16, `a depth of ${depth} bits is out of range`);
  check(primaries && transfer, `code points ${primaries} and ${transfer} of the colour space are out of range`);
  check(Math.max(quality, alphaQuality) <= 191, "a quality is out of range");
  check(Math.max(cellLog2, alphaCellLog2) <= 12, "a cell size is out of range");
  const isFine = [cellLog2, ...(alpha ? [alphaCellLog2] : [])].every(
    (log2) => (Math.max(width, height) - 1) / 2 ** log2 < MAX_CELLS,
  );
  check(isFine, `more than ${MAX_CELLS} position cells a side`);
  check(alpha <= 1 && (alpha || !(alphaQuality || alphaCellLog2)), `alpha of an unknown kind, ${alpha}`);
  const plane = (channels, quality, cellLog2) => ({ width, height, channels, quality, cellLog2 });
  return {
    width,
    height,
    depth,
    primaries,
    transfer,
    gaussians,
    color: plane(channels, quality, cellLog2),
    alpha: alpha ? plane(1, alphaQuality, alphaCellLog2) : null,
  };
}

/** The content of a packed chunk; async, as what browsers have for it. */
export async function inflate({ type, body, unpacked }) {
  const content = new Uint8Array(unpacked);
  let at = 0;
  try {
    const stream = new Blob([body]).stream().pipeThrough(new DecompressionStream("deflate"));
    for (const reader = stream.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > unpacked) {
        await reader.cancel();
        at = Infinity;
        break;
      }
      content.set(value, at);
      at += value.length;
    }
  } catch {
    at = Infinity;
  }
  check(at === unpacked, `the chunk "${type}" does not unpack to the ${unpacked} bytes that it claims`);
  return content;
}
