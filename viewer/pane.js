/** A canvas that shows a part of an image, and is moved by pointers, wheel and keys. */

const OVERVIEW = 512; // pixels of the longer side of what is shown until a place has been rendered
const FIRST_OVERVIEW = 256; // of the same while the file arrives
const MAX_PIXELS = 1 << 24; // phones have no larger canvases
const MAX_ZOOM = 64;

const canvas = (width, height) => Object.assign(document.createElement("canvas"), { width, height });

const isSamePlace = (a, b) => a && a.left === b.left && a.top === b.top && a.zoom === b.zoom;

/**
 * Its place says what is to be seen: the image's left upper corner in whole pixels of the canvas, and pixels of the
 * canvas for one of the image. Moving by whole pixels keeps what has been rendered.
 *
 * Events: `move`, `paint` and `sharp`, when all that is to be seen has been rendered.
 */
export class Pane extends EventTarget {
  image = null;
  /** "image" or "ellipses". */
  mode = "image";
  /** How many Gaussians are shown. */
  limit = Infinity;
  /** Called as (context, place) after every painting. */
  overlay = null;
  #canvas;
  #context;
  #place = { left: 0, top: 0, zoom: 1 };
  #isFitted = true;
  #region = null;
  #front = null; // { canvas, place, revision, mode, limit, width, height }: rendered last
  #overview = null; // { canvas, revision, time }
  #abort = null;
  #isBusy = false;
  #frame = 0;
  #observer;

  constructor(element) {
    super();
    this.#canvas = element;
    this.#context = element.getContext("2d");
    this.#observer = new ResizeObserver(([entry]) => this.#resize(entry));
    try {
      this.#observer.observe(element, { box: "device-pixel-content-box" });
    } catch {
      this.#observer.observe(element);
    }
  }

  show(image) {
    this.#abort?.abort();
    this.image = image;
    this.#front = this.#overview = null;
    this.limit = Infinity;
    this.#region = null;
    image?.addEventListener("header", () => this.fit(this.#region), { once: true });
    for (const event of ["progress", "load", "error"]) image?.addEventListener(event, () => this.update());
    if (image?.header) this.fit();
    this.update();
  }

  get place() {
    return this.#place;
  }

  /** Whether all of what is to be seen has been rendered. */
  get isSharp() {
    return Boolean(this.image?.header && this.#isCurrent());
  }

  /** The region in the middle of the canvas, { x, y, width, height } in pixels of the image. */
  get region() {
    const { left, top, zoom } = this.#place;
    return { x: -left / zoom, y: -top / zoom, width: this.#canvas.width / zoom, height: this.#canvas.height / zoom };
  }

  /** Shows a region, as large as it fits. */
  set region({ x, y, width, height }) {
    const zoom = Math.min(this.#canvas.width / width, this.#canvas.height / height);
    this.#isFitted = false;
    this.#region = null;
    const left = this.#canvas.width / 2 - (x + width / 2) * zoom;
    this.#go(left, this.#canvas.height / 2 - (y + height / 2) * zoom, zoom);
  }

  /** Shows all of the image, or of a region that is kept in view when the size changes. */
  fit(region = null) {
    if (!this.image?.header) return;
    const { width, height } = this.image;
    this.region = region ?? { x: 0, y: 0, width, height };
    this.#isFitted = true;
    this.#region = region;
  }

  /** Zooms by a factor around a point of the canvas, by default its middle. */
  zoomBy(factor, x = this.#canvas.width / 2, y = this.#canvas.height / 2) {
    this.zoomTo(this.#place.zoom * factor, x, y);
  }

  zoomTo(zoom, x = this.#canvas.width / 2, y = this.#canvas.height / 2) {
    if (!this.image?.header) return;
    const { left, top, zoom: old } = this.#place;
    const { width, height } = this.image;
    const least = Math.min(1, this.#canvas.width / width, this.#canvas.height / height) / 2;
    const next = Math.min(Math.max(zoom, least), MAX_ZOOM);
    this.#isFitted = false;
    this.#go(x - ((x - left) * next) / old, y - ((y - top) * next) / old, next);
  }

  moveBy(x, y) {
    this.#isFitted = false;
    this.#go(this.#place.left + x, this.#place.top + y, this.#place.zoom);
  }

  #go(left, top, zoom) {
    if (!this.image?.header) return;
    const { width, height } = this.image;
    const inside = (value, size, side) =>
      size <= side ? (side - size) / 2 : Math.min(Math.max(value, side - size), 0);
    left = Math.round(inside(left, width * zoom, this.#canvas.width));
    top = Math.round(inside(top, height * zoom, this.#canvas.height));
    this.#place = { left, top, zoom };
    this.dispatchEvent(new Event("move"));
    this.update();
  }

  #resize({ devicePixelContentBoxSize, contentRect }) {
    const [box] = devicePixelContentBoxSize ?? [];
    let width = box?.inlineSize ?? Math.round(contentRect.width * devicePixelRatio);
    let height = box?.blockSize ?? Math.round(contentRect.height * devicePixelRatio);
    const shrink = Math.min(1, Math.sqrt(MAX_PIXELS / (width * height)));
    [width, height] = [Math.max(Math.floor(width * shrink), 1), Math.max(Math.floor(height * shrink), 1)];
    if (width === this.#canvas.width && height === this.#canvas.height) return;
    const { x, y, width: across, height: down } = this.region;
    const { zoom } = this.#place;
    this.#canvas.width = width;
    this.#canvas.height = height;
    if (!this.image?.header) return;
    if (this.#isFitted) this.fit(this.#region);
    else this.#go(width / 2 - (x + across / 2) * zoom, height / 2 - (y + down / 2) * zoom, zoom);
    this.#paint();
  }

  /** Paints soon, and renders what is missing. */
  update() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#refine();
      this.#paint();
    });
  }

  /** The pixels of the canvas that the image covers, at a place. */
  #visible({ left, top, zoom }) {
    const { width, height } = this.image.header;
    const right = Math.min(Math.max(Math.round(left + width * zoom), left + 1), this.#canvas.width);
    const bottom = Math.min(Math.max(Math.round(top + height * zoom), top + 1), this.#canvas.height);
    return { x0: Math.max(left, 0), y0: Math.max(top, 0), x1: right, y1: bottom };
  }

  #isCurrent() {
    const front = this.#front;
    return front && isSamePlace(front.place, this.#place) && this.#hasAll(front);
  }

  #hasAll(front) {
    const { width, height } = this.#canvas;
    const isSame = front.mode === this.mode && front.limit === this.limit;
    return isSame && front.revision === this.image.revision && front.width === width && front.height === height;
  }

  async #refine() {
    const { image } = this;
    const isEmpty = !image?.gaussians && !image?.complete;
    if (this.#isBusy || isEmpty || this.#isCurrent()) return;
    this.#isBusy = true;
    this.#abort = new AbortController();
    image.want(this.#place.zoom);
    try {
      if (!this.#overview) await this.#look(); // small, and so soon there
      await this.#sharpen(image);
      if (image === this.image) await this.#look();
    } finally {
      this.#isBusy = false;
    }
    if (this.image?.header && !this.#isCurrent()) this.update();
  }

  /** Renders what is to be seen at the pixels of the canvas. */
  async #sharpen(image) {
    const { mode, limit } = this;
    const { width, height } = this.#canvas;
    const state = { place: this.#place, revision: image.revision, mode, limit, width, height };
    const isOver = () => image !== this.image || width !== this.#canvas.width || height !== this.#canvas.height;
    const old = this.#front;
    const isMoved = old && old.place.zoom === state.place.zoom && this.#hasAll(old);
    if (!(await (isMoved ? this.#move(state, isOver) : this.#replace(state, isOver)))) return;
    this.#paint();
    if (this.#isCurrent()) this.dispatchEvent(new Event("sharp"));
  }

  /** The view of a rectangle of the canvas at a place, and how to render it. */
  #asked({ place: { left, top, zoom }, mode, limit }, { x0, y0, x1, y1 }) {
    const [columns, rows] = [x1 - x0, y1 - y0];
    const [x, y, width, height] = [x0 - left, y0 - top, columns, rows].map((pixels) => pixels / zoom);
    return [
      { x, y, width, height, columns, rows },
      { mode, limit, signal: this.#abort.signal },
    ];
  }

  /** Renders all that is seen. */
  async #replace(state, isOver) {
    const part = this.#visible(state.place);
    const { width, height } = state;
    let isDone = false;
    const [view, options] = this.#asked(state, part);
    const draw = (rendered) => {
      if (isOver()) return;
      const front = this.#front?.canvas ?? canvas(width, height);
      if (front.width !== width || front.height !== height) Object.assign(front, { width, height });
      const [x, y, columns, rows] = [part.x0, part.y0, part.x1 - part.x0, part.y1 - part.y0];
      const context = front.getContext("2d");
      context.clearRect(0, 0, width, height);
      context.drawImage(rendered, 0, 0, columns, rows, x, y, columns, rows);
      this.#front = { ...state, canvas: front };
      isDone = true;
    };
    await this.image.render(view, draw, options);
    return isDone;
  }

  /** Moves what has been rendered, and renders what comes into view. */
  async #move(state, isOver) {
    const old = this.#front;
    const [dx, dy] = [state.place.left - old.place.left, state.place.top - old.place.top];
    const parts = [];
    for (const part of exposed(this.#visible(state.place), dx, dy, this.#visible(old.place))) {
      const drawn = await this.image.toCanvas(...this.#asked(state, part));
      if (!drawn || isOver()) return false;
      parts.push([drawn, part]);
    }
    const context = old.canvas.getContext("2d");
    context.globalCompositeOperation = "copy";
    context.drawImage(old.canvas, dx, dy);
    context.globalCompositeOperation = "source-over";
    for (const [drawn, { x0, y0 }] of parts) {
      context.clearRect(x0, y0, drawn.width, drawn.height);
      context.drawImage(drawn, x0, y0);
    }
    this.#front = { ...state, canvas: old.canvas };
    return true;
  }

  /** Renders the overview, at most once every two seconds while the file arrives. */
  async #look() {
    const { image } = this;
    const old = this.#overview;
    const isCurrent = old?.revision === image.revision;
    if (isCurrent || (old && !image.complete && performance.now() < old.time + 2000)) return;
    const { width, height } = image;
    const side = image.complete ? OVERVIEW : FIRST_OVERVIEW;
    const shrink = Math.min(1, side / Math.max(width, height));
    const [columns, rows] = [width, height].map((side) => Math.max(Math.round(side * shrink), 1));
    const state = { revision: image.revision, time: performance.now() };
    const view = { x: 0, y: 0, width, height, columns, rows };
    const drawn = await image.toCanvas(view, { signal: this.#abort.signal });
    if (drawn) this.#overview = { canvas: drawn, ...state };
    if (!this.#front) this.#paint();
  }

  #paint() {
    const { width, height } = this.#canvas;
    const context = this.#context;
    context.clearRect(0, 0, width, height);
    if (!this.image?.header) return;
    const place = this.#place;
    const { x0, y0, x1, y1 } = this.#visible(place);
    context.save();
    context.beginPath();
    context.rect(x0, y0, x1 - x0, y1 - y0);
    context.clip();
    if (this.#overview && !this.#isCurrent() && this.mode === "image" && this.limit === Infinity) {
      const { header } = this.image;
      context.drawImage(
        this.#overview.canvas,
        place.left,
        place.top,
        header.width * place.zoom,
        header.height * place.zoom,
      );
    }
    const front = this.#front;
    if (front) {
      const scale = place.zoom / front.place.zoom;
      const x = place.left - front.place.left * scale;
      const y = place.top - front.place.top * scale;
      const seen = this.#visible(front.place);
      const at = [seen.x0, seen.y0, seen.x1 - seen.x0, seen.y1 - seen.y0];
      const to = [x + at[0] * scale, y + at[1] * scale, at[2] * scale, at[3] * scale];
      context.imageSmoothingEnabled = scale !== 1;
      context.clearRect(...to);
      context.drawImage(front.canvas, ...at, ...to);
    }
    context.restore();
    this.overlay?.(context, place);
    this.dispatchEvent(new Event("paint"));
  }

  /** The pixels of the image on the canvas, as they have been rendered. */
  pixels() {
    const { width, height } = this.#canvas;
    return this.#front.canvas.getContext("2d").getImageData(0, 0, width, height);
  }

  close() {
    this.#observer.disconnect();
    this.#abort?.abort();
    cancelAnimationFrame(this.#frame);
    this.image = null;
  }
}

/** The rectangles of `all` that a part that has been rendered, moved by (dx, dy), leaves free. */
function exposed(all, dx, dy, old) {
  const x0 = Math.max(all.x0, old.x0 + dx);
  const y0 = Math.max(all.y0, old.y0 + dy);
  const x1 = Math.min(all.x1, old.x1 + dx);
  const y1 = Math.min(all.y1, old.y1 + dy);
  if (x0 >= x1 || y0 >= y1) return [all];
  const parts = [
    { x0: all.x0, y0: all.y0, x1: all.x1, y1: y0 },
    { x0: all.x0, y0: y1, x1: all.x1, y1: all.y1 },
    { x0: all.x0, y0, x1: x0, y1 },
    { x0: x1, y0, x1: all.x1, y1 },
  ];
  return parts.filter((part) => part.x0 < part.x1 && part.y0 < part.y1);
}
