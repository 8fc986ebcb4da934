/** Pointers, wheel and keys that move a pane. */

const STEP = 1.25;
const WHEEL = 1 / 400;
const FRICTION = 0.94; // of the speed that is left after each frame of a fling

export class Controls {
  #canvas;
  #pane;
  #pointers = new Map();
  #abort = new AbortController();
  #speed = [0, 0];
  #fling = 0;
  #tap = null;

  /** `isShared`: the page scrolls, too; the wheel zooms only with Ctrl or once the canvas has the focus. */
  constructor(canvas, pane, { isShared = false } = {}) {
    this.#canvas = canvas;
    this.#pane = pane;
    canvas.tabIndex = 0;
    canvas.style.touchAction = "none";
    const listen = (type, handle, options) =>
      canvas.addEventListener(type, handle, { signal: this.#abort.signal, ...options });
    listen("pointerdown", (event) => this.#down(event));
    listen("pointermove", (event) => this.#move(event));
    for (const type of ["pointerup", "pointercancel"]) listen(type, (event) => this.#up(event));
    listen("keydown", (event) => this.#key(event));
    listen("wheel", (event) => this.#wheel(event, isShared), { passive: false });
  }

  close() {
    this.#abort.abort();
    cancelAnimationFrame(this.#fling);
    this.#canvas.removeAttribute("tabindex");
    this.#canvas.style.touchAction = "";
  }

  /** A place of the page in pixels of the canvas. */
  #point({ clientX, clientY }) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return [((clientX - left) * this.#canvas.width) / width, ((clientY - top) * this.#canvas.height) / height];
  }

  #down(event) {
    if (event.button > 0) return;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#point(event));
    cancelAnimationFrame(this.#fling);
    this.#speed = [0, 0];
    const [x, y] = this.#point(event);
    const last = this.#tap;
    this.#tap = { x, y, time: event.timeStamp };
    if (last && event.timeStamp - last.time < 350 && Math.hypot(x - last.x, y - last.y) < 30) {
      this.#pane.zoomBy(event.shiftKey ? 0.5 : 2, x, y);
      this.#tap = null;
    }
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#point(event);
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId);
    this.#pointers.set(event.pointerId, now);
    if (others.length === 0) {
      const by = [now[0] - before[0], now[1] - before[1]];
      this.#pane.moveBy(...by);
      this.#speed = this.#speed.map((speed, i) => 0.6 * speed + 0.4 * by[i]);
      if (Math.hypot(...by) > 3) this.#tap = null;
    } else if (others.length === 1) {
      const [[, other]] = others;
      const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
      const apart = (a) => Math.max(Math.hypot(a[0] - other[0], a[1] - other[1]), 1);
      const [from, to] = [middle(before, other), middle(now, other)];
      this.#pane.zoomBy(apart(now) / apart(before), ...from);
      this.#pane.moveBy(to[0] - from[0], to[1] - from[1]);
      this.#tap = null;
    }
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId) || this.#pointers.size) return;
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (event.type === "pointerup" && !isStill && Math.hypot(...this.#speed) > 2) this.#glide();
  }

  #glide() {
    this.#fling = requestAnimationFrame(() => {
      this.#pane.moveBy(...this.#speed);
      this.#speed = this.#speed.map((speed) => speed * FRICTION);
      if (Math.hypot(...this.#speed) > 0.5) this.#glide();
    });
  }

  #wheel(event, isShared) {
    if (isShared && !event.ctrlKey && !event.metaKey && this.#canvas.getRootNode().activeElement !== this.#canvas)
      return;
    event.preventDefault();
    const lines = [1, 16, 400][event.deltaMode];
    const turn = Math.min(Math.max(event.deltaY * lines * (event.ctrlKey ? 4 : 1), -400), 400);
    this.#pane.zoomBy(2 ** (-turn * WHEEL), ...this.#point(event));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = (event.shiftKey ? 0.5 : 0.1) * Math.min(this.#canvas.width, this.#canvas.height);
    const pane = this.#pane;
    const actions = {
      ArrowLeft: () => pane.moveBy(step, 0),
      ArrowRight: () => pane.moveBy(-step, 0),
      ArrowUp: () => pane.moveBy(0, step),
      ArrowDown: () => pane.moveBy(0, -step),
      "+": () => pane.zoomBy(STEP),
      "=": () => pane.zoomBy(STEP),
      "-": () => pane.zoomBy(1 / STEP),
      0: () => pane.fit(),
      Home: () => pane.fit(),
      1: () => pane.zoomTo(1),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }
}
