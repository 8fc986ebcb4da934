/**
 * `<sspl-image src="photo.sspl" alt="…">`: an image in a page, as easy as `<img>`.
 *
 * Attributes: `src`; `alt`; `zoom` (pointers, wheel and keys move it; the wheel only with Ctrl or once it has the
 * focus); `region="x,y,width,height"` in pixels of the image. Events: `load`, `error`, `progress`. Without a size of
 * its own from a style sheet it is as wide as the image, at most as its surroundings, and as high as its shape says.
 */

import { Controls } from "./controls.js";
import { Pane } from "./pane.js";
import { ImageFile } from "./image-file.js";

const STYLE = `
:host { display: inline-block; position: relative; max-width: 100%; overflow: hidden; vertical-align: bottom; }
:host([hidden]) { display: none; }
canvas { position: absolute; inset: 0; width: 100%; height: 100%; outline-offset: -2px; }
p { margin: 0; padding: 0.25em; font: small sans-serif; }`;

export class SsplImage extends HTMLElement {
  static observedAttributes = ["src", "alt", "zoom", "region"];
  #canvas = document.createElement("canvas");
  #message = document.createElement("p");
  #shape = document.createElement("style");
  #pane = null;
  #controls = null;

  constructor() {
    super();
    this.#message.hidden = true;
    const style = Object.assign(document.createElement("style"), { textContent: STYLE });
    this.attachShadow({ mode: "open" }).append(style, this.#shape, this.#canvas, this.#message);
  }

  get src() {
    return this.getAttribute("src") ?? "";
  }

  set src(value) {
    this.setAttribute("src", value);
  }

  /** The ImageFile, from which views can be rendered; null without a source. */
  get image() {
    return this.#pane?.image ?? null;
  }

  /** The Pane, which can be moved; null while the element is in no document. */
  get pane() {
    return this.#pane;
  }

  /** Whether all of the file has arrived. */
  get complete() {
    return Boolean(this.image?.complete);
  }

  get naturalWidth() {
    return this.image?.header?.width ?? 0;
  }

  get naturalHeight() {
    return this.image?.header?.height ?? 0;
  }

  connectedCallback() {
    this.#pane = new Pane(this.#canvas);
    this.#setControls();
    this.#label();
    this.#open();
  }

  disconnectedCallback() {
    this.#controls?.close();
    this.image?.close();
    this.#pane.close();
    this.#pane = this.#controls = null;
  }

  attributeChangedCallback(name) {
    if (!this.#pane) return;
    if (name === "src") this.#open();
    if (name === "alt") this.#label();
    if (name === "zoom") this.#setControls();
    if (name === "region") this.#size();
  }

  #setControls() {
    this.#controls?.close();
    this.#controls = this.hasAttribute("zoom") ? new Controls(this.#canvas, this.#pane, { isShared: true }) : null;
  }

  #label() {
    const alt = this.getAttribute("alt");
    this.#canvas.setAttribute("role", "img");
    if (alt) this.#canvas.setAttribute("aria-label", alt);
    else this.#canvas.removeAttribute("aria-label");
    this.#canvas.toggleAttribute("aria-hidden", alt === "");
  }

  #open() {
    this.image?.close();
    this.#message.hidden = true;
    this.#canvas.hidden = false;
    if (!this.src) return this.#pane.show(null);
    const image = new ImageFile(this.src);
    for (const type of ["progress", "load", "error"]) {
      image.addEventListener(type, ({ loaded, total, error }) => {
        if (image !== this.image) return;
        if (type === "error" && !image.header) {
          this.#canvas.hidden = true;
          this.#message.hidden = false;
          this.#message.textContent = this.getAttribute("alt") || error.message;
        }
        this.dispatchEvent(Object.assign(new Event(type), { loaded, total, error }));
      });
    }
    image.addEventListener("header", () => this.#size(), { once: true });
    this.#pane.show(image);
  }

  #size() {
    const { header } = this.image ?? {};
    if (!header) return;
    const [x, y, width, height] = (this.getAttribute("region") ?? "").split(",").map(Number);
    const region = width > 0 && height > 0 && x >= 0 && y >= 0 ? { x, y, width, height } : null;
    const shape = region ?? header;
    this.#shape.textContent = `:host { aspect-ratio: ${shape.width} / ${shape.height}; width: ${shape.width}px; }`;
    this.#pane.fit(region);
  }
}

customElements.get("sspl-image") ?? customElements.define("sspl-image", SsplImage);
