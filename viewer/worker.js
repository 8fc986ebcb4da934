/** The worker of an ImageFile: fetches and decodes a file as it arrives, and renders it where there is no WebGL2. */

import { FileReader, LIMITS, LimitError, inflate } from "./container.js";
import { decodeGrain, decodeMask, decodeSymbols, dequantize } from "./decode.js";
import { filterVariance, touches } from "./gaussians.js";
import { Grain } from "./grain.js";
import { loadDecoder } from "./load-decoder.js";
import { Raster, convert, maskOpacity } from "./raster.js";

const SLICE = 12; // milliseconds of rendering between two looks at the messages
const WHOLE = 1 << 23; // bytes of a file that is fetched whole, whatever is seen of it
const VISIBLE = 0.25 / 255; // what a Gaussian must add to be worth fetching
const ATTEMPTS = 3;

let reader = null;
let keepsGaussians = false;
let covered = 0;
let table = null; // of colours
const groups = [];
const mask = [];
let grain = null;
let compiled = null; // the file in WebAssembly, once all of it is there: several times as fast as Raster

// ---- Fetching -------------------------------------------------------------------------------------------------------

let scale = 0; // pixels of the output for one of the image, at most, that is asked for
let volume = Infinity; // the most of |colour| u v in the last group: later ones have less
let wake = () => {};

/** Whether what follows in the file can be seen at the scale that is asked for. */
const isWanted = () => reader.size <= WHOLE || volume > VISIBLE * Math.max(filterVariance(scale), 0.1);

async function* streamed(stream) {
  const reading = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reading.read();
      if (done) return;
      yield value;
    }
  } finally {
    reading.cancel().catch(() => {}); // also when no more is wanted
  }
}

/** The bytes of a response from some byte of the file on; those before it are left out if it has all of them. */
async function* bytesFrom(response, from) {
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`.trim());
  let skip = response.status === 206 ? 0 : from;
  for await (const bytes of streamed(response.body)) {
    const wanted = bytes.subarray(Math.min(skip, bytes.length));
    skip -= bytes.length - wanted.length;
    if (wanted.length) yield wanted;
  }
}

/** A part of a file, if that is what came, or all of it: some hosts compress files and send parts of that. */
async function rest(source, from) {
  if (from === 0) return fetch(source);
  const response = await fetch(source, { headers: { Range: `bytes=${from}-` } });
  const isRight = response.headers.get("Content-Range") === `bytes ${from}-${reader.size - 1}/${reader.size}`;
  if (response.status === 206 ? isRight : response.ok) return response;
  await response.body?.cancel();
  return fetch(source);
}

async function* fetched(source) {
  let loaded = 0;
  for (let attempt = 1; ;) {
    const before = loaded;
    try {
      for await (const bytes of bytesFrom(await rest(source, loaded), loaded)) {
        loaded += bytes.length;
        attempt = 1;
        yield bytes;
        if (!isWanted() && loaded < reader.size) break;
      }
    } catch (error) {
      if (!(reader.size > WHOLE) || attempt++ === ATTEMPTS) throw error;
    }
    if (!(loaded < reader.size) || reader.size <= WHOLE || (loaded === before && attempt === 1)) return;
    if (isWanted()) continue;
    postMessage({ type: "pause" });
    await new Promise((resolve) => (wake = resolve));
  }
}

async function open(source) {
  reader = new FileReader();
  let loaded = 0;
  let isKnown = false;
  const decoder = keepsGaussians ? loadDecoder().catch(() => null) : null;
  const parts = [];
  for await (const bytes of typeof source === "string" ? fetched(source) : streamed(new Blob([source]).stream())) {
    loaded += bytes.length;
    const chunks = reader.push(bytes);
    if (reader.header && !isKnown) {
      isKnown = true;
      const { entries, ...known } = reader.header;
      postMessage({ type: "header", header: { ...known, hasMask: entries.some((entry) => entry.type === "MASK") } });
    }
    if (decoder) parts.push(bytes);
    for (const chunk of chunks) await take(chunk);
    postMessage({ type: "progress", loaded, total: reader.size });
  }
  reader.end();
  compiled = await openCompiled(decoder, parts);
  postMessage({ type: "load", isCompiled: compiled !== null });
}

/** A whole file in a decoder; null where there is none, or it cannot. */
async function openCompiled(decoder, parts) {
  try {
    return (await decoder)?.open(new Uint8Array(await new Blob(parts).arrayBuffer())) ?? null;
  } catch {
    return null;
  }
}

// ---- Decoding -------------------------------------------------------------------------------------------------------

async function take(chunk) {
  const { header } = reader;
  if (chunk.type === "MASK") {
    mask.push(decodeMask(chunk, header.alpha));
    postMessage({ type: "mask" });
  } else if (chunk.type === "grai") {
    const found = decodeGrain(chunk, header);
    grain = new Grain(found, header);
    postMessage({ type: "grain", grain: found });
  } else if (chunk.coded) {
    const isAlpha = chunk.type === "ALPH";
    const plane = isAlpha ? header.alpha : header.color;
    const group = { ...dequantize(decodeSymbols(chunk, plane), plane), extent: chunk.extent, isAlpha };
    if (!isAlpha) volume = group.volume;
    covered += group.area;
    if (covered > LIMITS.overlap * Math.max(header.width * header.height, 2 ** 20)) {
      throw new LimitError(`more than ${LIMITS.overlap} Gaussians lie over each pixel`);
    }
    if (keepsGaussians) {
      groups.push(group);
      postMessage({ type: "group", group: { ...group, records: null } });
    } else {
      postMessage({ type: "group", group }, [group.records]);
    }
    await turn();
    await showing;
  } else if (chunk.type !== "dens") {
    await inflate(chunk);
    if (chunk.type === "iccp") postMessage({ type: "profile", profile: chunk.body });
  }
}

/** Lets messages in. */
function turn() {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

// ---- Rendering ------------------------------------------------------------------------------------------------------

let showing = null; // the first rendering: decoding waits for it
let job = null; // what has been rendered of the last view
const canceled = new Set();

/** Renders a view on the processor: Gaussians up to `limit` in the order of the file, or as many as there are. */
async function render({ id, view, limit = Infinity, mode }) {
  if (compiled && limit === Infinity && mode === "image") {
    try {
      return await renderCompiled(id, view);
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) {
        compiled = null; // its memory has ended, and so has it
        postMessage({ type: "uncompiled" });
      }
    }
  }
  const key = JSON.stringify([view, mode]);
  if (job?.key !== key || job.count > limit) {
    job = { key, raster: new Raster(view, mode), group: 0, from: 0, count: 0 };
  }
  const end = groups.length; // what arrives meanwhile is for the next view
  for (const own = job; own.group < end && own.count < limit;) {
    const group = groups[own.group];
    const last = Math.min(group.count, limit - own.count + own.from);
    const at = touches(group, view)
      ? own.raster.add({ ...group, count: last }, own.from, performance.now() + SLICE)
      : last;
    own.count += at - own.from;
    own.from = at;
    if (at === group.count) {
      own.group++;
      own.from = 0;
    }
    await turn();
    if (canceled.delete(id)) return postMessage({ type: "pixels", id, pixels: null });
  }
  const opacity = mask.length ? maskOpacity(mask, view, reader.header) : null;
  const pixels = job.raster.pixels(Boolean(reader.header.alpha), { mask: opacity, table, grain });
  postMessage({ type: "pixels", id, pixels }, [pixels.buffer]);
}

async function renderCompiled(id, view) {
  const { x, y, width, height, columns, rows } = view;
  const pixels = new Uint8ClampedArray(4 * columns * rows);
  const request = { region: [x, y, width, height], size: [columns, rows], bits: table ? 16 : 8 };
  for (const { top, data } of compiled.strips(request)) {
    const strip = pixels.subarray(4 * columns * top).subarray(0, data.length);
    if (table) convert(table, data, strip);
    else strip.set(data);
    await turn();
    if (canceled.delete(id)) return postMessage({ type: "pixels", id, pixels: null });
  }
  postMessage({ type: "pixels", id, pixels }, [pixels.buffer]);
}

const answers = {
  open({ source, keepsGaussians: keeps }) {
    keepsGaussians = keeps;
    open(source).catch(({ name, message }) => postMessage({ type: "error", name, message }));
  },
  render(asked) {
    const rendering = render(asked);
    showing ??= rendering;
  },
  cancel: ({ id }) => canceled.add(id),
  colors({ table: given }) {
    table = given;
  },
  mask({ id, view }) {
    const opacity = maskOpacity(mask, view, reader.header);
    postMessage({ type: "pixels", id, pixels: opacity }, [opacity.buffer]);
  },
  want({ scale: wanted }) {
    scale = wanted;
    if (isWanted()) wake();
  },
};

onmessage = ({ data }) => answers[data.type](data);
