/** The decoder in WebAssembly, sspl.wasm, for Node.js, workers and pages. */

export type Kind = "format" | "unsupported" | "limit" | "argument" | "memory";

export class SsplError extends Error {
  constructor(kind: Kind, message: string);
  readonly kind: Kind;
}

/** Upper bounds of what a file may claim. */
export interface Limits {
  side?: number;
  pixels?: number;
  gaussians?: number;
  file_bytes?: number;
  metadata_bytes?: number;
  overlap?: number;
}

export interface Info {
  width: number;
  height: number;
  channels: number;
  depth: number;
  primaries: number;
  transfer: number;
  densityAcross: number;
  densityDown: number;
  gaussians: number;
}

export interface Request {
  /** x, y, width and height, in pixels of the image; also between them. */
  region?: readonly [number, number, number, number];
  size?: readonly [number, number];
  bits?: 8 | 16;
  grain?: boolean;
}

/** RGBA. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray | Uint16Array;
}

export interface Image {
  readonly info: Info;
  read(request?: Request): Pixels;
  /** `data` is gone when the next strip comes. */
  strips(request?: Request): Generator<Pixels & { top: number }>;
  metadata(kind: "icc" | "exif" | "xmp" | "iptc" | "geo"): Promise<Uint8Array | null>;
  close(): void;
}

export interface Decoder {
  /** Bytes. */
  readonly memory: number;
  open(bytes: Uint8Array, options?: { partial?: boolean; limits?: Limits }): Image;
}

export function load(source: BufferSource | WebAssembly.Module | Response | Promise<Response>): Promise<Decoder>;
