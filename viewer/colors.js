/**
 * Colours of other spaces than sRGB: the browser, which knows profiles, converts a grid of them; what lies between is
 * interpolated.
 */

import { crc32 } from "./crc32.js";
import { GRID } from "./gaussians.js";

const SRGB = [1, 13];

/**
 * The grid in sRGB, GRID³ times RGBA with red the fastest; null for an image in sRGB.
 *
 * `profile` is the zlib stream of an ICC profile, or null: then the header's code points say what the colours are.
 */
export async function colorTable({ color, primaries, transfer }, profile) {
  if (!profile && primaries === SRGB[0] && transfer === SRGB[1]) return null;
  const isGray = color.channels === 1;
  const [width, height] = isGray ? [GRID, 1] : [GRID, GRID * GRID];
  const rows = [];
  for (let y = 0; y < height; y++) {
    rows.push(0); // no filter
    for (let x = 0; x < width; x++) {
      const values = isGray ? [x] : [x, y % GRID, Math.floor(y / GRID)];
      rows.push(...values.map((value) => Math.round((255 * value) / (GRID - 1))));
    }
  }
  const header = [...number(width), ...number(height), 8, isGray ? 0 : 2, 0, 0, 0];
  const space = profile
    ? chunk("iCCP", [...bytes("profile"), 0, 0, ...profile])
    : chunk("cICP", [primaries, transfer, 0, 1]);
  const png = [
    ...[0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a],
    ...[...chunk("IHDR", header), ...space, ...chunk("IDAT", stored(rows)), ...chunk("IEND", [])],
  ];
  const image = await createImageBitmap(new Blob([new Uint8Array(png)], { type: "image/png" }));
  const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  if (!isGray) return new Uint8Array(data.buffer);
  const grays = new Uint8Array(4 * GRID ** 3); // whatever its other channels are, red says what a grey is
  for (let i = 0; i < grays.length; i += 4)
    grays.set(data.subarray(4 * ((i >> 2) % GRID), 4 * ((i >> 2) % GRID) + 4), i);
  return grays;
}

const bytes = (text) => Array.from(text, (character) => character.charCodeAt(0));
const number = (value) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

function chunk(type, body) {
  const content = [...bytes(type), ...body];
  return [...number(body.length), ...content, ...number(crc32(new Uint8Array(content)))];
}

/** A zlib stream that compresses nothing. */
function stored(content) {
  const stream = [0x78, 0x01];
  let [a, b] = [1, 0];
  for (const byte of content) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  for (let at = 0; at < content.length; at += 65535) {
    const size = Math.min(65535, content.length - at);
    const isLast = at + size === content.length ? 1 : 0;
    stream.push(isLast, size & 255, size >> 8, ~size & 255, (~size >> 8) & 255);
    for (let i = at; i < at + size; i++) stream.push(content[i]);
  }
  return [...stream, b >> 8, b & 255, a >> 8, a & 255];
}
