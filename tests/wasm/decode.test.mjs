import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const { BUILT, SAMPLES } = process.env;
const { load, SsplError } = await import(pathToFileURL(`${BUILT}/sspl.js`));
const module = new WebAssembly.Module(await readFile(`${BUILT}/sspl.wasm`));
const sample = (name) => readFile(`${SAMPLES}/${name}`);

// Without fused multiply-adds a code value may round the other way.
function assertClose(found, expected) {
  assert.equal(found.length, expected.length);
  let different = 0;
  for (let i = 0; i < found.length; ++i) {
    const difference = Math.abs(found[i] - expected[i]);
    assert.ok(difference <= 1, `sample ${i}: ${found[i]}, not ${expected[i]}`);
    different += difference;
  }
  assert.ok(different < 0.01 * found.length, `${different} of ${found.length} differ`);
}

for (const { name, file, pixels, view } of JSON.parse(await sample("cases.json"))) {
  test(`${name} ${JSON.stringify(view)}`, async () => {
    const codec = await load(module);
    const image = codec.open(await sample(file));
    const found = image.read(view);
    assert.equal(found.data.length, 4 * found.width * found.height);
    assertClose(found.data, await sample(pixels));
    image.close();
    assert.throws(() => image.read(), { kind: "argument" });
  });
}

test("a tile of 177 megapixels in 128 MB", async () => {
  const codec = await load(module);
  const image = codec.open(await sample("huge.sspl"));
  assert.deepEqual([image.info.width, image.info.height], [16384, 10816]);
  const tile = image.read({ region: [8000, 5000, 512, 512] });
  assertClose(tile.data, await sample("huge.rgba"));
  for (let i = 0; i < 20; ++i) image.read({ region: [512 * i, 512 * i, 512, 512] });
  console.log(`${(codec.memory / 1e6).toFixed(1)} MB`);
  assert.ok(codec.memory < 128e6, `${codec.memory} bytes`);
});

test("info and metadata", async () => {
  const image = (await load(await readFile(`${BUILT}/sspl.wasm`))).open(await sample("metadata.sspl"));
  const { width, height, channels, depth, densityAcross, densityDown, gaussians } = image.info;
  assert.deepEqual([width, height, channels, depth], [300, 270, 3, 16]);
  assert.deepEqual([densityAcross, densityDown, gaussians], [3937, 4000, 400]);
  const profile = await image.metadata("icc");
  assert.equal(profile.length, 256 * 9);
  assert.equal(profile[300], 44);
  assert.equal(await image.metadata("exif"), null);
});

test("grain may be left out", async () => {
  const cases = JSON.parse(await sample("cases.json"));
  const { file } = cases.find(({ name }) => name === "grain");
  const image = (await load(module)).open(await sample(file));
  assert.notDeepEqual(image.read().data, image.read({ grain: false }).data);
});

test("what is wrong is said in a line", async () => {
  const codec = await load(module);
  const data = new Uint8Array(await sample("0.sspl"));
  const refused = (bytes, kind, message, options) =>
    assert.throws(
      () => codec.open(bytes, options),
      (error) => error instanceof SsplError && error.kind === kind && message.test(error.message),
    );
  refused(new Uint8Array(), "format", /signature/);
  refused(data.slice(0, -1), "format", /truncated/);
  refused(data, "limit", /limits are 299/, { limits: { side: 299 } });
  refused(data, "argument", /no limit sides/, { limits: { sides: 299 } });
  const part = codec.open(data.slice(0, -1), { partial: true });
  assert.equal(part.read({ size: [30, 27] }).data.length, 30 * 27 * 4);
  for (const request of [{ region: [0, 0, 302, 1] }, { size: [0, 5] }, { size: [1.5, 5] }, { region: [-2, 0, 1, 1] }])
    assert.throws(() => part.read(request), { kind: "argument" });
  assert.throws(() => part.read({ size: [(1 << 22) + 1, 1] }), { kind: "limit" });
});

test("memory is given back", async () => {
  const codec = await load(module);
  const data = new Uint8Array(await sample("0.sspl"));
  let after;
  for (let i = 0; i < 200; ++i) {
    const image = codec.open(data);
    image.read();
    image.close();
    if (i === 5) after = codec.memory;
  }
  assert.equal(codec.memory, after);
});
