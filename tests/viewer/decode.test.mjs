/** container.js and decode.js in Node: the vectors exactly, however their bytes arrive, and the refusals of the Python reader. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { FileReader, inflate } from "../../viewer/container.js";
import { decodeGrain, decodeMask, decodeSymbols, dequantize, toHalf } from "../../viewer/decode.js";
import { noise } from "../../viewer/grain.js";
import { SAMPLES, VECTORS } from "./harness.mjs";

const entries = Object.entries(JSON.parse(readFileSync(path.join(VECTORS, "vectors.json"))));
const sha256 = (...arrays) => {
  const hash = createHash("sha256");
  for (const array of arrays) hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return hash.digest("hex");
};

/** All of a file: header, symbols of both planes, and the mask's levels. */
async function decode(data, step = data.length) {
  const reader = new FileReader();
  const found = { GAUS: [], ALPH: [], levels: null, grain: null, profile: null };
  for (let at = 0; at < data.length; at += step) {
    for (const chunk of reader.push(data.subarray(at, at + step))) {
      const { header } = reader;
      if (chunk.type === "MASK") {
        found.levels ??= new Uint8Array(header.width * header.height);
        const part = decodeMask(chunk, header.alpha);
        for (let y = 0; y < part.height; y++) {
          const row = part.levels.subarray(y * part.width, (y + 1) * part.width);
          found.levels.set(row, (part.y + y) * header.width + part.x);
        }
      } else if (chunk.type === "grai") {
        found.grain = decodeGrain(chunk, header).levels;
      } else if (chunk.coded) {
        const plane = chunk.type === "GAUS" ? header.color : header.alpha;
        const symbols = decodeSymbols(chunk, plane);
        dequantize(symbols, plane);
        found[chunk.type].push(symbols);
      } else if (chunk.type !== "dens") {
        const content = await inflate(chunk);
        if (chunk.type === "iccp") found.profile = content;
      }
    }
  }
  reader.end();
  return { ...found, header: reader.header };
}

for (const [name, entry] of entries) {
  test(`symbols of ${name}`, async () => {
    const data = new Uint8Array(readFileSync(path.join(VECTORS, `${name}.sspl`)));
    for (const step of [data.length, 1, 7, 100]) {
      const found = await decode(data, step);
      assert.equal(sha256(...found.GAUS), entry.symbols_sha256);
      assert.equal(found.header.alpha ? sha256(...found.ALPH) : null, entry.alpha_sha256);
      assert.equal(found.levels ? sha256(found.levels) : null, entry.levels_sha256);
      assert.equal(found.grain ? sha256(found.grain) : null, entry.grain_sha256);
      assert.equal(found.profile ? sha256(found.profile) : null, entry.profile_sha256);
      assert.equal(found.GAUS.length, entry.groups);
      assert.equal(found.header.gaussians, entry.gaussians);
    }
  });
}

test("damaged files are refused as the Python reader refuses them", async () => {
  const cases = JSON.parse(readFileSync(path.join(SAMPLES, "damaged.json")));
  assert.ok(cases.length > 1000);
  assert.ok(cases.some(({ error }) => error === null));
  const differences = [];
  for (const { name, data, error } of cases) {
    let found = null;
    try {
      await decode(new Uint8Array(Buffer.from(data, "base64")));
    } catch (problem) {
      assert.match(problem.message, /^[^\n]+$/, name);
      // Python has the whole file and sees first that it ends early.
      found = /^the file claims \d+ bytes/.test(problem.message) ? "FormatError" : problem.name;
    }
    if (found !== error) differences.push(`${name}: ${found}, not ${error}`);
  }
  assert.deepEqual(differences, []);
});

test("the noise of grain is the format's", () => {
  const bands = noise();
  const own = [0, 1, 2].map((band) => bands.subarray(band * 65536, (band + 1) * 65536));
  assert.deepEqual(
    own.map((band) => Array.from(band.subarray(0, 6))),
    [
      [-104, 31, -38, 62, 30, -25],
      [-76, -30, 20, 25, 10, 5],
      [-35, -6, 5, 16, 27, 22],
    ],
  );
  const sums = own.map((band) => band.reduce((sum, value) => sum + Math.abs(value), 0));
  assert.deepEqual(sums, [1689932, 1680702, 1647375]);
});

test("half floats", () => {
  const value = (bits) => {
    const exponent = (bits >> 10) & 31;
    const size = exponent ? (1024 + (bits & 1023)) * 2 ** (exponent - 25) : (bits & 1023) * 2 ** -24;
    return bits & 0x8000 ? -size : size;
  };
  for (let bits = 0; bits < 0x7c00; bits++) {
    assert.equal(toHalf(value(bits)), bits);
    assert.equal(toHalf(-value(bits)), bits ? bits | 0x8000 : toHalf(-0));
  }
  for (let i = 0, seed = 1; i < 20000; i++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const x = (seed / 2 ** 31 - 1) * 2 ** ((i % 300) / 10 - 20);
    const step = Math.max(2 ** (Math.floor(Math.log2(Math.abs(x))) - 10), 2 ** -24);
    assert.ok(Math.abs(value(toHalf(x)) - x) <= step * 0.500001); // a tie is one of 32-bit floats
  }
  assert.equal(value(toHalf(1e9)), 65504);
});
