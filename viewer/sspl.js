/**
 * The decoder for Node.js, serverless workers and pages: sspl.wasm, which scripts/wasm builds, behind a few functions.
 *
 *   const codec = await load(await readFile("sspl.wasm"));
 *   const image = codec.open(await readFile("photo.sspl"));
 *   const tile = image.read({ region: [1024, 512, 512, 512], size: [256, 256] }); // { width, height, data }: RGBA
 *   image.close();
 */

// sspl.h as it lies in 32-bit memory.
const ERROR_BYTES = 4 + 240;
const OPTIONS_BYTES = 72;
const INFO_BYTES = 48;
const REQUEST_BYTES = 64;
const ROWS_STEP = 256;
const LIMITS = ["side", "pixels", "gaussians", "file_bytes", "metadata_bytes", "overlap", "output_pixels"];
const METADATA = ["icc", "exif", "xmp", "iptc", "geo"];
const NAMES = ["", "format", "unsupported", "limit", "argument", "read", "memory"];

/** What is wrong with a file or a request; `kind` is one of format, unsupported, limit, argument, memory. */
export class SsplError extends Error {
  constructor(kind, message) {
    super(message);
    this.name = "SsplError";
    this.kind = kind;
  }
}

/**
 * Makes a decoder, with memory of its own, which grows with what it decodes.
 *
 * @param {BufferSource | WebAssembly.Module | Response | Promise<Response>} source sspl.wasm
 */
export async function load(source) {
  let module = await source;
  if (typeof Response !== "undefined" && module instanceof Response) {
    if (!module.ok) throw new Error(`${module.status} ${module.statusText}`.trim());
    module = await module.arrayBuffer(); // whatever media type the host gives it
  }
  const imports = { wasi_snapshot_preview1: new Proxy({}, { get: () => () => 52 }) }; // it opens no files: ENOSYS
  const made = await WebAssembly.instantiate(module, imports);
  const instance = made.instance ?? made; // of a module that is compiled there is only the instance
  instance.exports._initialize();
  return new Decoder(instance.exports);
}

class Decoder {
  #c;

  constructor(exports) {
    this.#c = exports;
  }

  /** Bytes of memory that it has taken so far. */
  get memory() {
    return this.#c.memory.buffer.byteLength;
  }

  /**
   * Opens a file. Throws SsplError if it is none.
   *
   * @param {Uint8Array} bytes
   * @param {object} [options] partial: show what there is of a file that ends early; limits: { side, pixels, gaussians,
   *   file_bytes, metadata_bytes, overlap, output_pixels }, each a number
   */
  open(bytes, { partial = false, limits = {} } = {}) {
    const c = this.#c;
    const file = allocate(c, Math.max(bytes.length, 1));
    const handle = scratch(c, OPTIONS_BYTES + ERROR_BYTES, (options) => {
      new Uint8Array(c.memory.buffer).set(bytes, file);
      c.sspl_options_init(options, OPTIONS_BYTES);
      const view = new DataView(c.memory.buffer);
      view.setUint32(options + 8, partial ? 1 : 0, true);
      for (const [name, value] of Object.entries(limits)) {
        if (!LIMITS.includes(name)) throw new SsplError("argument", `there is no limit ${name}`);
        view.setBigUint64(options + 16 + 8 * LIMITS.indexOf(name), BigInt(value), true);
      }
      const error = options + OPTIONS_BYTES;
      const opened = c.sspl_open_memory(file, bytes.length, options, error);
      if (!opened) {
        c.free(file);
        throw errorAt(c, error);
      }
      return opened;
    });
    return new Image(c, handle, file);
  }
}

class Image {
  #c;
  #handle;
  #file;

  constructor(exports, handle, file) {
    this.#c = exports;
    this.#handle = handle;
    this.#file = file;
    /** width, height, channels, depth, primaries, transfer, densityAcross, densityDown, gaussians */
    this.info = scratch(exports, INFO_BYTES, (info) => {
      exports.sspl_get_info(handle, info, INFO_BYTES);
      const view = new DataView(exports.memory.buffer);
      const names = ["width", "height", "channels", "depth", "primaries", "transfer", "densityAcross", "densityDown"];
      const found = Object.fromEntries(names.map((name, i) => [name, view.getUint32(info + 4 + 4 * i, true)]));
      return { ...found, gaussians: Number(view.getBigUint64(info + 40, true)) };
    });
  }

  /**
   * Renders a region at a size as RGBA, as ImageData has it. Throws SsplError.
   *
   * @param {object} [request] region: [x, y, width, height] in pixels of the image, also between them, the default is
   *   all of it; size: [width, height] of the result, the default is the region's; bits: of a sample, 8 or 16; grain:
   *   false leaves out the noise that stands for lost texture
   * @returns {{ width: number, height: number, data: Uint8ClampedArray | Uint16Array }}
   */
  read(request = {}) {
    let pixels = null;
    for (const { width, height, top, data } of this.strips(request)) {
      pixels ??= { width, height, data: new data.constructor(4 * width * height) };
      pixels.data.set(data, 4 * width * top);
    }
    return pixels;
  }

  /**
   * The same in strips, from the top: { width, height, top, data }, of which `data` is gone when the next comes.
   * Nothing else may be read of the image in between.
   */
  *strips({ region, size, bits = 8, grain = true } = {}) {
    const c = this.#opened();
    const [x, y, across, down] = region ?? [0, 0, this.info.width, this.info.height];
    const [width, height] = size ?? [across, down];
    for (const number of [width, height]) {
      if (!Number.isInteger(number) || number < 0 || number > 0xffffffff)
        throw new SsplError("argument", `${number} is no number of pixels`);
    }
    const request = allocate(c, REQUEST_BYTES + ERROR_BYTES);
    const error = request + REQUEST_BYTES;
    let pixels = 0;
    try {
      c.sspl_request_init(request, REQUEST_BYTES);
      const view = new DataView(c.memory.buffer);
      [x, y, across, down].forEach((field, i) => view.setFloat64(request + 8 + 8 * i, field, true));
      [width, height, 4, bits, grain ? 0 : 1].forEach((field, i) => view.setUint32(request + 40 + 4 * i, field, true));
      // Checked before memory is taken for the pixels.
      if (c.sspl_begin(this.#handle, request, error)) throw errorAt(c, error);
      const Samples = bits === 16 ? Uint16Array : Uint8ClampedArray;
      pixels = allocate(c, Math.min(height, ROWS_STEP) * width * 4 * Samples.BYTES_PER_ELEMENT);
      for (let top = 0; top < height; top += ROWS_STEP) {
        const rows = Math.min(height - top, ROWS_STEP);
        if (c.sspl_read_rows(this.#handle, top, rows, pixels, 0, error)) throw errorAt(c, error);
        yield { width, height, top, data: new Samples(c.memory.buffer, pixels, 4 * width * rows) };
      }
    } finally {
      c.free(pixels);
      c.free(request);
    }
  }

  /**
   * Metadata, unpacked: "icc", "exif", "xmp", "iptc" or "geo" (GeoTIFF tags). Null if there is none.
   *
   * @param {string} kind
   * @returns {Promise<Uint8Array | null>}
   */
  async metadata(kind) {
    const c = this.#opened();
    const [packed, size] = scratch(c, 8, (sizes) => {
      const found = c.sspl_get_packed_metadata(this.#handle, METADATA.indexOf(kind), sizes, sizes + 4);
      const view = new DataView(c.memory.buffer);
      const stored = new Uint8Array(c.memory.buffer, found, view.getUint32(sizes, true)).slice();
      return [found ? stored : null, view.getUint32(sizes + 4, true)];
    });
    if (packed === null) return null;
    const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
    const bytes = new Uint8Array(size);
    let end = 0;
    try {
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        bytes.set(part.value, end); // throws where there is more than the file says
        end += part.value.length;
      }
      if (end !== size) throw new RangeError();
    } catch {
      throw new SsplError("format", `the ${kind} metadata are damaged`);
    }
    return bytes;
  }

  /** Gives back the memory. */
  close() {
    if (!this.#handle) return;
    this.#c.sspl_close(this.#handle);
    this.#c.free(this.#file);
    this.#handle = 0;
  }

  #opened() {
    if (!this.#handle) throw new SsplError("argument", "the image is closed");
    return this.#c;
  }
}

function allocate(c, size) {
  const address = c.malloc(size);
  if (!address) throw new SsplError("memory", "there is not enough memory");
  return address;
}

// Calls work(address) with so many bytes.
function scratch(c, size, work) {
  const address = allocate(c, size);
  try {
    return work(address);
  } finally {
    c.free(address);
  }
}

function errorAt(c, error) {
  const bytes = new Uint8Array(c.memory.buffer, error, ERROR_BYTES);
  const kind = NAMES[bytes[0]];
  return new SsplError(kind, new TextDecoder().decode(bytes.subarray(4, bytes.indexOf(0, 4))));
}
