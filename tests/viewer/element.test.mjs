/** <sspl-image>: attributes, events, size, streaming, keys. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";

import { SAMPLES, difference, launch, netpbm, open, pixels, serve, sleep, until } from "./harness.mjs";

const data = readFileSync(path.join(SAMPLES, "photo.sspl"));
const { prefixes } = JSON.parse(readFileSync(path.join(SAMPLES, "views.json")));
const MODULE = '<script type="module" src="/viewer/sspl-image.js"></script>';
const PAGES = {
  "/plain": `${MODULE}<sspl-image src="/samples/photo.sspl" alt="A dandelion"></sspl-image>`,
  "/zoom": `${MODULE}<sspl-image zoom src="/samples/photo.sspl" alt="A" style="width:400px;height:300px"></sspl-image>`,
  "/region": `${MODULE}<sspl-image src="/samples/photo.sspl" region="100,50,300,200" style="width:600px"></sspl-image>`,
  "/slow": `${MODULE}<sspl-image src="/slow.sspl" style="width:400px"></sspl-image>`,
  "/none": `${MODULE}<sspl-image src="/missing.sspl" alt="Not there"></sspl-image>`,
  "/wrong": `${MODULE}<sspl-image src="/viewer/pane.js"></sspl-image>`,
  "/many": `${MODULE}${'<sspl-image src="/samples/alpha.sspl" style="width:90px"></sspl-image>'.repeat(8)}`,
};

let server, browser, slow;
before(async () => {
  server = await serve({
    pages: PAGES,
    answer(request, response, pathname) {
      if (pathname !== "/slow.sspl") return false;
      response.writeHead(200, { "Content-Type": "image/x-sspl", "Content-Length": data.length });
      response.write(data.subarray(0, prefixes[0]));
      slow = response;
      return true;
    },
  });
  browser = await launch();
});
after(async () => {
  await browser.close();
  server.close();
});

const isSharp = () => document.querySelector("sspl-image").pane?.isSharp;
const isLoaded = () =>
  document.querySelector("sspl-image").complete && document.querySelector("sspl-image").pane.isSharp;

/** RGBA of the element's canvas. */
const shown = (page) => pixels(page, "document.querySelector('sspl-image').shadowRoot.querySelector('canvas')");

test("it is as large as the image, at most as its surroundings, and has the image's shape", async () => {
  const { page, errors } = await open(browser, `${server.address}/plain`);
  await until(page, isLoaded);
  const box = await page.evaluate(() => {
    const { width, height } = document.querySelector("sspl-image").getBoundingClientRect();
    return { width, height, natural: document.querySelector("sspl-image").naturalWidth };
  });
  assert.equal(box.natural, 1600);
  assert.ok(Math.abs(box.width / box.height - 1.6) < 0.01);
  assert.ok(box.width > 1200 && box.width <= 1280);
  const label = await page.evaluate(() => {
    const canvas = document.querySelector("sspl-image").shadowRoot.querySelector("canvas");
    return [canvas.getAttribute("role"), canvas.getAttribute("aria-label"), canvas.hasAttribute("tabindex")];
  });
  assert.deepEqual(label, ["img", "A dandelion", false]);
  assert.deepEqual(errors, []);
});

test("a region at its size", async () => {
  const { page } = await open(browser, `${server.address}/region`);
  await until(page, isLoaded);
  const found = await shown(page);
  assert.deepEqual([found.width, found.height], [600, 400]);
  await page.evaluate(async () => {
    window.expected = new OffscreenCanvas(600, 400);
    const view = { x: 100, y: 50, width: 300, height: 200, columns: 600, rows: 400 };
    const draw = (drawn) => expected.getContext("2d").drawImage(drawn, 0, 0);
    await document.querySelector("sspl-image").image.render(view, draw);
  });
  assert.deepEqual(found, await pixels(page, "expected"));
});

test("what has arrived is shown, then the rest", async () => {
  const { page, errors } = await open(browser, `${server.address}/slow`);
  await until(page, isSharp);
  const first = await shown(page);
  assert.deepEqual([first.width, first.height], [400, 250]);
  assert.ok(difference(first.data, netpbm(path.join(SAMPLES, `prefix-${prefixes[0]}.ppm`))) <= 1.01);
  assert.equal(await page.evaluate(() => document.querySelector("sspl-image").complete), false);
  slow.write(data.subarray(prefixes[0], prefixes[1]));
  await until(page, (bytes) => document.querySelector("sspl-image").image.loaded === bytes, prefixes[1]);
  await until(page, isSharp);
  const second = await shown(page);
  assert.ok(difference(second.data, netpbm(path.join(SAMPLES, `prefix-${prefixes[1]}.ppm`))) <= 1.01);
  await page.evaluate(() => {
    document.querySelector("sspl-image").addEventListener("load", ({ loaded }) => (window.loaded = loaded));
  });
  slow.end(data.subarray(prefixes[1]));
  assert.equal(await until(page, () => window.loaded), data.length);
  await until(page, isLoaded);
  const last = await shown(page);
  assert.ok(difference(last.data, netpbm(path.join(SAMPLES, "photo-whole.ppm"))) <= 1.01);
  assert.deepEqual(errors, []);
});

test("a file that ends early stays, and says so", async () => {
  const { page } = await open(browser, `${server.address}/slow`);
  await until(page, isSharp);
  await page.evaluate(() => {
    document.querySelector("sspl-image").addEventListener("error", ({ error }) => (window.said = error.message));
  });
  slow.destroy();
  assert.match(await until(page, () => window.said), /network error|truncated|fetch/i);
  assert.ok((await shown(page)).data.some((value, i) => i % 4 === 0 && value > 50));
});

test("what is no file of ours says so, or shows its alt", async () => {
  for (const [place, text] of [
    ["none", "Not there"],
    ["wrong", "not a SmartSplat file: the signature is missing"],
  ]) {
    const { page } = await open(browser, `${server.address}/${place}`);
    await until(page, () => !document.querySelector("sspl-image").shadowRoot.querySelector("p").hidden);
    const shown = await page.evaluate(
      () => document.querySelector("sspl-image").shadowRoot.querySelector("p").textContent,
    );
    assert.equal(shown, text);
  }
});

test("keys, wheel, double click and drag move it where zoom is allowed", async () => {
  const { page, errors } = await open(browser, `${server.address}/zoom`);
  await until(page, isLoaded);
  const place = () => page.evaluate(() => ({ ...document.querySelector("sspl-image").pane.place }));
  const start = await place();
  await page.keyboard.press("Tab");
  await page.keyboard.press("+");
  const larger = await place();
  assert.ok(larger.zoom > start.zoom);
  await page.keyboard.press("1");
  assert.equal((await place()).zoom, 1);
  await page.keyboard.press("ArrowRight");
  assert.ok((await place()).left < -100);
  await page.keyboard.press("0");
  assert.deepEqual(await place(), start);
  await page.mouse.dblclick(200, 150);
  assert.ok(Math.abs((await place()).zoom / start.zoom - 2) < 1e-9);
  const before = await place();
  await page.mouse.move(200, 150);
  await page.mouse.down();
  await page.mouse.move(150, 130, { steps: 5 });
  await sleep(60);
  await page.mouse.up();
  assert.ok((await place()).left < before.left - 40);
  await page.mouse.wheel(0, 400);
  await until(page, (zoom) => document.querySelector("sspl-image").pane.place.zoom < zoom, before.zoom);
  assert.deepEqual(errors, []);
});

test("the page scrolls until the element has the focus", async () => {
  const { page } = await open(browser, `${server.address}/zoom`);
  await until(page, isLoaded);
  const before = await page.evaluate(() => document.querySelector("sspl-image").pane.place.zoom);
  await page.mouse.move(200, 150);
  await page.mouse.wheel(0, -200);
  await sleep(100);
  assert.equal(await page.evaluate(() => document.querySelector("sspl-image").pane.place.zoom), before);
});

test("another source, and no source", async () => {
  const { page, errors } = await open(browser, `${server.address}/plain`);
  await until(page, isLoaded);
  await page.evaluate(() => (document.querySelector("sspl-image").src = "/samples/alpha.sspl"));
  await until(
    page,
    () => document.querySelector("sspl-image").naturalWidth === 300 && document.querySelector("sspl-image").complete,
  );
  await until(page, isSharp);
  const { data: rgba, width } = await shown(page);
  assert.ok(rgba[3] < 30 && rgba[4 * (width - 1) + 3] > 225, "transparent on the left, opaque on the right");
  await page.evaluate(() => document.querySelector("sspl-image").removeAttribute("src"));
  assert.equal(await page.evaluate(() => document.querySelector("sspl-image").image), null);
  await page.evaluate(() => document.querySelector("sspl-image").remove());
  await sleep(100);
  assert.deepEqual(errors, []);
});

test("many on a page", async () => {
  const { page, errors } = await open(browser, `${server.address}/many`);
  await until(page, () =>
    [...document.querySelectorAll("sspl-image")].every((each) => each.complete && each.pane.isSharp),
  );
  assert.deepEqual(errors, []);
});
