/** OpenSeadragon: with tiles rendered in the page, and on the image server. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";

import { SAMPLES, command, launch, open, pixels, serve, until } from "./harness.mjs";

const LIBRARY = '<script src="/packages/openseadragon/build/openseadragon/openseadragon.min.js"></script>';
const BODY = '<div id="osd" style="width:800px;height:500px"></div>';
const SETTINGS = 'id: "osd", showNavigationControl: false, drawer: "canvas", crossOriginPolicy: "Anonymous"';
const PAGES = {
  "/tiles": `${LIBRARY}${BODY}<script type="module">
    import { tileSource } from "/viewer/openseadragon.js";
    window.viewer = OpenSeadragon({ ${SETTINGS} });
    viewer.open(await tileSource(OpenSeadragon, "/samples/photo.sspl", { tileSize: 256 }));
  </script>`,
  "/iiif": `${LIBRARY}${BODY}<script>
    window.viewer = OpenSeadragon({ ${SETTINGS}, tileSources: new URLSearchParams(location.search).get("info") });
  </script>`,
};

let server, browser, images;
before(async () => {
  server = await serve({ pages: PAGES });
  browser = await launch();
  images = await command("serve", SAMPLES, "--port", "0");
});
after(async () => {
  await browser.close();
  server.close();
  assert.equal((await images.stop()).code, 0);
});

/** RGBA of what OpenSeadragon shows once every tile is there. */
async function shown(page, x, y, zoom) {
  await until(page, () => window.viewer?.world.getItemCount() === 1 && viewer.isOpen());
  await page.evaluate(
    ([x, y, zoom]) => {
      viewer.viewport.zoomTo(zoom, null, true);
      viewer.viewport.panTo(new OpenSeadragon.Point(x, y), true);
    },
    [x, y, zoom],
  );
  await until(page, () => viewer.world.getItemAt(0).getFullyLoaded());
  await page.waitForTimeout(300);
  return (await pixels(page, "document.querySelector('.openseadragon-canvas canvas')")).data;
}

test("tiles in the page, and the same from the server", async () => {
  const info = `${images.address}iiif/photo.sspl/info.json`;
  const own = await open(browser, `${server.address}/tiles`);
  const served = await open(browser, `${server.address}/iiif?info=${encodeURIComponent(info)}`);
  for (const place of [
    [0.5, 0.3125, 1],
    [0.4, 0.3, 4],
  ]) {
    const [a, b] = [await shown(own.page, ...place), await shown(served.page, ...place)];
    const errors = Array.from(a, (value, i) => Math.abs(value - b[i]));
    assert.ok(errors.reduce((sum, error) => sum + error, 0) / errors.length < 3, "but for JPEG's or WebP's loss");
    assert.ok(a.some((value, i) => i % 4 === 0 && value > 200) && a.some((value, i) => i % 4 === 0 && value < 50));
  }
  assert.deepEqual([...own.errors, ...served.errors], []);
});

test("the server's list leads to the viewer", async () => {
  const { page, errors } = await open(browser, images.address);
  assert.deepEqual(await page.$$eval("li > a", (links) => links.map((link) => link.textContent)), [
    ...["alpha.sspl", "large.sspl", "photo.sspl"],
  ]);
  await page.click("text=photo.sspl");
  await until(page, () => document.querySelector("#facts")?.textContent.startsWith("1600 × 1000"));
  await until(page, () => document.querySelector("#progress").hidden);
  assert.deepEqual(errors, []);
});

test("the description has tiles and sizes", async () => {
  const { page } = await open(browser, server.address);
  const info = await page.evaluate(
    (address) => fetch(address).then((response) => response.json()),
    `${images.address}iiif/photo.sspl/info.json`,
  );
  assert.deepEqual(info.tiles, [{ width: 512, height: 512, scaleFactors: [1, 2, 4] }]);
  assert.deepEqual(info.sizes, [
    { width: 400, height: 250 },
    { width: 800, height: 500 },
    { width: 1600, height: 1000 },
  ]);
});

test("a page that holds everything works from a disk", async () => {
  const { page, errors } = await open(browser, `file://${path.join(SAMPLES, "photo.html")}`);
  await until(page, () => document.querySelector("#facts").textContent.startsWith("1600 × 1000"));
  await until(page, () => document.querySelector("#progress").hidden);
  await page.waitForTimeout(500);
  const bright = await page.evaluate(() => {
    const canvas = document.querySelector("#stage");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((value, i) => i % 4 === 0 && value > 100).length;
  });
  assert.ok(bright > 10000);
  assert.equal(await page.title(), 'a "quoted" <name> & more');
  assert.equal(await page.textContent("h1"), 'a "quoted" <name> & more');
  assert.deepEqual(errors, []);
  assert.ok(readFileSync(path.join(SAMPLES, "photo.html")).length < 2e6);
});

test("a notebook's frame", async () => {
  const { page, errors } = await open(browser, `file://${path.join(SAMPLES, "notebook.html")}`);
  const frame = page.frames()[1];
  await until(frame, () => document.querySelector("#facts").textContent.startsWith("1600 × 1000"));
  await until(frame, () => document.querySelector("#progress").hidden);
  assert.deepEqual(errors, []);
});
