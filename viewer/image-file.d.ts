/** A .sspl file in a page. */

import type { FileHeader } from "./container.js";

/** A region of the image in its pixels, and the size that it is rendered at. */
export interface View {
  x: number;
  y: number;
  width: number;
  height: number;
  columns: number;
  rows: number;
}

export interface RenderOptions {
  /** How many Gaussians, in the order of the file; the default is all. */
  limit?: number;
  mode?: "image" | "ellipses";
  signal?: AbortSignal | null;
}

/** What a file says of itself. */
export type Header = Omit<FileHeader, "entries"> & { hasMask: boolean };

/** Events: `header`, `progress`, `pause`, `load` and `error`. */
export class ImageFile extends EventTarget {
  constructor(
    source: string | Blob | ArrayBuffer,
    options?: { renderer?: "auto" | "webgl" | "cpu"; precision?: 16 | 32 },
  );
  readonly header: Header | null;
  readonly width: number;
  readonly height: number;
  readonly hasAlpha: boolean;
  readonly loaded: number;
  readonly total: number;
  readonly gaussians: number;
  readonly complete: boolean;
  readonly paused: boolean;
  readonly revision: number;
  readonly error: Error | null;
  readonly renderer: "webgl" | "wasm" | "cpu";
  /** Resolves when the size is known. */
  readonly ready: Promise<ImageFile>;
  /** Resolves when all of the file has arrived. */
  readonly done: Promise<ImageFile>;
  /** Asks for what is seen at a scale: pixels of the output for one of the image. */
  want(scale: number): void;
  /** Hands `draw` a canvas with the view in its upper left corner, to be copied at once; false if aborted. */
  render(view: View, draw: (rendered: HTMLCanvasElement) => void, options?: RenderOptions): Promise<boolean>;
  /** A new canvas with the view; null if aborted. */
  toCanvas(view: View, options?: RenderOptions): Promise<HTMLCanvasElement | null>;
  close(): void;
}
