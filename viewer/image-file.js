/** A .sspl file in a page: opened from an address, a file or bytes, and rendered for any view. */

import { colorTable } from "./colors.js";
import { Grain } from "./grain.js";
import { GlRenderer } from "./render.js";
import { startWorker } from "./start-worker.js";

/** Renders in the worker. */
class CpuRenderer {
  canvas = document.createElement("canvas");
  #ask;

  constructor(ask) {
    this.#ask = ask;
  }

  add() {}

  setColors(table) {
    this.#ask({ type: "colors", table });
  }

  setGrain() {}

  async render(view, { limit, mode, signal } = {}) {
    const pixels = await this.#ask({ type: "render", view, limit, mode }, signal);
    if (!pixels || signal?.aborted) return false;
    const { canvas } = this;
    if (canvas.width < view.columns || canvas.height < view.rows) {
      canvas.width = Math.max(canvas.width, view.columns);
      canvas.height = Math.max(canvas.height, view.rows);
    }
    canvas.getContext("2d").putImageData(new ImageData(pixels, view.columns, view.rows), 0, 0);
    return true;
  }

  close() {}
}

/**
 * Events: `header` (its size is known), `progress` (`loaded` and `total` bytes; more of it can be seen), `load` and
 * `error` (`error`).
 */
export class ImageFile extends EventTarget {
  header = null;
  /** Bytes: that have arrived, and of the whole file, 0 while unknown. */
  loaded = 0;
  total = 0;
  /** Gaussians that have arrived. */
  gaussians = 0;
  complete = false;
  /** Whether the rest of the file waits until more of it is wanted. */
  paused = false;
  error = null;
  #isCompiled = false; // the worker renders in WebAssembly
  #source;
  #worker;
  #renderer;
  #isClosed = false;
  #asked = new Map();
  #next = 1;
  #scale = 0;
  #turn = Promise.resolve();
  #colors = Promise.resolve();
  /** Grows whenever what is rendered changes. */
  revision = 0;
  #mask = null; // { key, opacity }

  /**
   * @param source an address, a Blob or an ArrayBuffer
   * @param renderer "auto", "webgl" (also without a GPU) or "cpu"
   */
  constructor(source, { renderer = "auto", precision = 32 } = {}) {
    super();
    this.#source = typeof source === "string" ? new URL(source, document.baseURI).href : source;
    try {
      if (renderer !== "cpu") this.#renderer = new GlRenderer({ anyDevice: renderer === "webgl", precision });
    } catch (error) {
      if (renderer === "webgl") throw error;
    }
    // A page may have only so many contexts, and a GPU may fail: the worker goes on.
    this.#renderer?.canvas.addEventListener("webglcontextlost", () => this.#isClosed || this.#restart());
    this.#start();
  }

  #start() {
    const keepsGaussians = !this.#renderer;
    this.#renderer ??= new CpuRenderer((message, signal) => this.#ask(message, signal));
    this.#worker = startWorker();
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onerror = (event) => this.#fail(new Error(event.message || "the worker cannot be started"));
    this.#worker.postMessage({ type: "open", source: this.#source, keepsGaussians });
    if (this.#scale) this.#worker.postMessage({ type: "want", scale: this.#scale });
  }

  #restart() {
    this.#worker.terminate();
    this.#renderer = null;
    for (const resolve of this.#asked.values()) resolve(null);
    this.#asked.clear();
    this.loaded = this.gaussians = 0;
    this.complete = this.#isCompiled = false;
    this.revision++;
    this.#start();
  }

  get width() {
    return this.header.width;
  }

  get height() {
    return this.header.height;
  }

  get hasAlpha() {
    return Boolean(this.header?.alpha);
  }

  /** "webgl", "wasm" or "cpu": what renders now. */
  get renderer() {
    if (this.#renderer instanceof GlRenderer) return "webgl";
    return this.#isCompiled ? "wasm" : "cpu";
  }

  /** Resolves with the image when its size is known. */
  get ready() {
    return this.#until("header", () => this.header);
  }

  /** Resolves with the image when all of it has arrived. */
  get done() {
    this.want(Infinity);
    return this.#until("load", () => this.complete);
  }

  /** Asks for what is seen at a scale: pixels of the output for one of the image. Large files wait for it. */
  want(scale) {
    if (scale <= this.#scale) return;
    this.#scale = scale;
    this.#worker.postMessage({ type: "want", scale });
  }

  #until(event, isReached) {
    return new Promise((resolve, reject) => {
      const settle = () => (this.error ? reject(this.error) : isReached() && resolve(this));
      this.addEventListener(event, settle);
      this.addEventListener("error", settle);
      settle();
    });
  }

  /**
   * Renders a view { x, y, width, height, columns, rows } and hands a canvas to `draw`, with the view in its upper left
   * corner, to be copied at once. False if it was aborted.
   *
   * Options: `limit`, how many Gaussians, in the order of the file; `mode`, "image" or "ellipses"; `signal`.
   */
  render(view, draw, options = {}) {
    const turn = this.#turn.then(() => !options.signal?.aborted && this.#render(view, draw, options));
    this.#turn = turn.catch(() => {}); // one view after the other
    return turn;
  }

  /** A new canvas with a view, or null if it was aborted. Options as `render` takes them. */
  async toCanvas(view, options = {}) {
    const canvas = Object.assign(document.createElement("canvas"), { width: view.columns, height: view.rows });
    const draw = (rendered) => canvas.getContext("2d").drawImage(rendered, 0, 0);
    return (await this.render(view, draw, options)) ? canvas : null;
  }

  async #render(view, draw, { limit = Infinity, mode = "image", signal = null }) {
    await this.#colors;
    let mask = null;
    if (this.header.hasMask && this.renderer === "webgl") {
      const key = JSON.stringify([view, this.revision]);
      if (this.#mask?.key !== key) this.#mask = { key, opacity: await this.#ask({ type: "mask", view }, signal) };
      mask = this.#mask.opacity;
      if (signal?.aborted) return false;
    }
    const options = { limit, mode, mask, hasAlpha: this.hasAlpha, signal };
    if (!(await this.#renderer.render(view, options))) return false;
    draw(this.#renderer.canvas);
    return true;
  }

  close() {
    this.#isClosed = true;
    this.#worker.terminate();
    this.#renderer.close();
  }

  #ask(message, signal) {
    const id = this.#next++;
    this.#worker.postMessage({ ...message, id });
    signal?.addEventListener("abort", () => this.#worker.postMessage({ type: "cancel", id }));
    return new Promise((resolve) => this.#asked.set(id, resolve));
  }

  #receive({ type, ...data }) {
    if (type === "pixels") {
      this.#asked.get(data.id)(data.pixels);
      this.#asked.delete(data.id);
    } else if (type === "header") {
      this.header = data.header;
      this.#colors = this.#setColors(null);
      this.#say("header");
    } else if (type === "group") {
      this.#renderer.add(data.group);
      this.gaussians += data.group.count;
      this.revision++;
      this.#say("progress");
    } else if (type === "grain") {
      this.#renderer.setGrain(new Grain(data.grain, this.header));
      this.revision++;
    } else if (type === "mask") {
      this.revision++;
    } else if (type === "profile") {
      this.#colors = this.#colors.then(() => this.#setColors(data.profile));
    } else if (type === "uncompiled") {
      this.#isCompiled = false;
    } else if (type === "error") {
      this.#fail(Object.assign(new Error(data.message), { name: data.name }));
    } else {
      this.loaded = data.loaded ?? this.loaded;
      this.total = data.total ?? this.total;
      if (type === "load") {
        this.complete = true;
        this.#isCompiled = data.isCompiled;
        this.revision++;
      }
      this.paused = type === "pause";
      this.#say(type);
    }
  }

  async #setColors(profile) {
    const table = await colorTable(this.header, profile).catch(() => null);
    if (!table) return;
    this.#renderer.setColors(table);
    this.revision++;
    this.#say("progress");
  }

  #fail(error) {
    this.error = error;
    this.#say("error");
  }

  #say(type) {
    const { loaded, total, error } = this;
    this.dispatchEvent(Object.assign(new Event(type), { loaded, total, error }));
  }
}
