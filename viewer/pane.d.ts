/** A canvas that shows a part of an image. */

import type { ImageFile } from "./image-file.js";

export interface Region {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The image's left upper corner in pixels of the canvas, and pixels of the canvas for one of the image. */
export interface Place {
  readonly left: number;
  readonly top: number;
  readonly zoom: number;
}

/** Events: `move`, `paint` and `sharp`, when all of what is seen has been rendered. */
export class Pane extends EventTarget {
  constructor(canvas: HTMLCanvasElement);
  readonly image: ImageFile | null;
  mode: "image" | "ellipses";
  limit: number;
  overlay: ((context: CanvasRenderingContext2D, place: Place) => void) | null;
  region: Region;
  readonly place: Place;
  readonly isSharp: boolean;
  show(image: ImageFile | null): void;
  fit(region?: Region | null): void;
  zoomBy(factor: number, x?: number, y?: number): void;
  zoomTo(zoom: number, x?: number, y?: number): void;
  moveBy(x: number, y: number): void;
  pixels(): ImageData;
  update(): void;
  close(): void;
}
