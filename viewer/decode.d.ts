/** The decoder, which needs no page. */

import type { CodedGrain, Group, Plane } from "./container.js";

export const SYMBOLS: 11;
export function decodeSymbols(group: Group, plane: Plane): Int32Array;
export function decodeMask(
  group: Group,
  plane: Plane,
): { x: number; y: number; width: number; height: number; levels: Uint8Array };
export function decodeGrain(
  grain: CodedGrain,
  image: { width: number; height: number },
): { cellLog2: number; bands: number; levels: Uint8Array };
export function dequantize(
  symbols: Int32Array,
  plane: Plane,
): { records: ArrayBuffer; count: number; area: number; volume: number };
