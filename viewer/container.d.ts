/** The container of .sspl files. */

export class FormatError extends Error {}
export class UnsupportedError extends FormatError {}
export class LimitError extends FormatError {}

export interface Limits {
  readonly side: number;
  readonly pixels: number;
  readonly gaussians: number;
  readonly fileBytes: number;
  readonly metadataBytes: number;
  readonly overlap: number;
}
export const LIMITS: Limits;

export interface Plane {
  width: number;
  height: number;
  channels: 1 | 3;
  quality: number;
  cellLog2: number;
}

export interface FileHeader {
  width: number;
  height: number;
  depth: number;
  primaries: number;
  transfer: number;
  gaussians: number;
  bytes: number;
  color: Plane;
  alpha: Plane | null;
  entries: { type: string; stored: number; unpacked: number; crc: number }[];
}

export interface Group {
  type: "GAUS" | "ALPH" | "MASK";
  count: number;
  /** Tiles of 64 pixels: x and y begin, x and y end. */
  extent: [number, number, number, number];
  coded: Uint8Array;
}

export interface CodedGrain {
  type: "grai";
  /** log2 of the side of a cell, pixels. */
  cellLog2: number;
  bands: number;
  coded: Uint8Array;
}

export interface Packed {
  type: string;
  body: Uint8Array;
  unpacked: number;
}

export class FileReader {
  constructor(limits?: Limits);
  readonly header: FileHeader | null;
  readonly size: number;
  push(bytes: Uint8Array): (Group | CodedGrain | Packed)[];
  end(): void;
}

export function inflate(chunk: Packed): Promise<Uint8Array>;
