/** The original of an image: drawn beside it, or as a map of the differences. */

/** Pixels of the longer side of what is shown until a place has been fetched. */
const WHOLE_SIDE = 1024;

export class Original {
  width = 0;
  height = 0;
  #whole = null; // a bitmap of all of it, if not larger than needed
  #base = null; // of an image server
  #part = null; // { image, place }
  #asking = null;

  /** `source`: a Blob, or the address of an image or of a IIIF image service (…/info.json). */
  static async open(source) {
    const original = new Original();
    if (typeof source === "string" && source.endsWith("/info.json")) {
      const info = await fetched(source).then((response) => response.json());
      [original.width, original.height] = [info.width, info.height];
      original.#base = source.slice(0, -"/info.json".length);
      const shrink = Math.min(1, WHOLE_SIDE / Math.max(info.width, info.height));
      const size = [info.width, info.height].map((side) => Math.max(Math.round(side * shrink), 1));
      original.#whole = await original.#image("full", size);
    } else {
      const blob = typeof source === "string" ? await fetched(source).then((response) => response.blob()) : source;
      original.#whole = await createImageBitmap(blob);
      [original.width, original.height] = [original.#whole.width, original.#whole.height];
    }
    return original;
  }

  /** Draws what is there of it for a place. */
  paint(context, { left, top, zoom }) {
    context.imageSmoothingEnabled = zoom < 1 || Boolean(this.#base);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#whole, left, top, this.width * zoom, this.height * zoom);
    if (!this.#part) return;
    const { image, place, x0, y0 } = this.#part;
    const scale = zoom / place.zoom;
    const [x, y] = [left + (x0 - place.left) * scale, top + (y0 - place.top) * scale];
    context.drawImage(image, x, y, image.width * scale, image.height * scale);
  }

  /** Fetches what a canvas of a size shows of it at a place; whether it is all there now. */
  async prepare(place, width, height) {
    if (!this.#base) return true;
    if (this.#part?.place === place) return true;
    const { left, top, zoom } = place;
    const x = Math.max(Math.floor(-left / zoom), 0);
    const y = Math.max(Math.floor(-top / zoom), 0);
    const right = Math.min(Math.ceil((width - left) / zoom), this.width);
    const bottom = Math.min(Math.ceil((height - top) / zoom), this.height);
    if (x >= right || y >= bottom) return false;
    const size = [right - x, bottom - y].map((side) => Math.max(Math.round(side * Math.min(zoom, 1)), 1));
    this.#asking?.abort();
    this.#asking = new AbortController();
    try {
      const part = await this.#image(`${x},${y},${right - x},${bottom - y}`, size, this.#asking.signal);
      const scale = zoom / Math.min(zoom, 1);
      const image =
        scale === 1
          ? part
          : await createImageBitmap(part, {
              resizeWidth: Math.round(size[0] * scale),
              resizeHeight: Math.round(size[1] * scale),
              resizeQuality: "pixelated",
            });
      this.#part = { image, place, x0: left + x * zoom, y0: top + y * zoom };
      return true;
    } catch (error) {
      if (error.name === "AbortError") return false;
      throw error;
    }
  }

  async #image(region, [width, height], signal) {
    const response = await fetched(`${this.#base}/${region}/${width},${height}/0/default.png`, signal);
    return createImageBitmap(await response.blob());
  }
}

async function fetched(address, signal) {
  const response = await fetch(address, { signal });
  if (!response.ok) throw new Error(`the original: ${response.status} ${response.statusText}`.trim());
  return response;
}

/** Errors of two images' pixels as colours: black 0, then blue, red, yellow, white 32 of 255 and more. */
export function errorMap(ours, theirs) {
  const map = new ImageData(ours.width, ours.height);
  const [a, b, out] = [ours.data, theirs.data, map.data];
  for (let i = 0; i < a.length; i += 4) {
    const error = Math.max(Math.abs(a[i] - b[i]), Math.abs(a[i + 1] - b[i + 1]), Math.abs(a[i + 2] - b[i + 2]));
    const heat = Math.min(error / 8, 4);
    out[i] = 255 * Math.min(Math.max(heat - 1, 0), 1);
    out[i + 1] = 255 * Math.min(Math.max(heat - 2, 0), 1);
    out[i + 2] = 255 * (heat < 1 ? heat : heat < 2 ? 2 - heat : Math.max(heat - 3, 0));
    out[i + 3] = a[i + 3] || b[i + 3] ? 255 : 0;
  }
  return map;
}
