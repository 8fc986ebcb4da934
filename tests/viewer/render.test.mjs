/** Pixels of render.js, raster.js and sspl.wasm against the reference: within one code value. */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";

import { SAMPLES, VECTORS, VIEWER, difference, launch, netpbm, open, pixels, serve } from "./harness.mjs";

const LIMIT = 1.01; // code values of 8 bits; references of 16 bits are no whole ones
const IN_OTHER_COLORS = ["alpha", "profile"];
const RENDERERS = [{ renderer: "cpu" }, { renderer: "webgl", precision: 32 }, { renderer: "webgl", precision: 16 }];
if (existsSync(path.join(VIEWER, "sspl.wasm"))) RENDERERS.push({ renderer: "wasm" }); // scripts/wasm builds it

let server, plain, browser, page, pageOfPlain, errors, errorsOfPlain;
before(async () => {
  server = await serve();
  plain = await serve({
    answer: (request, response, pathname) => pathname.endsWith(".wasm") && response.writeHead(404).end(),
  });
  browser = await launch();
  ({ page, errors } = await open(browser, server.address));
  ({ page: pageOfPlain, errors: errorsOfPlain } = await open(browser, plain.address));
});
after(async () => {
  await browser.close();
  server.close();
  plain.close();
});

/** RGBA of a view, and what rendered it. */
async function rendered(src, view, options, more = {}) {
  const used = options.renderer === "cpu" ? pageOfPlain : page;
  const renderer = await used.evaluate(
    async ({ src, view, options, more }) => {
      const { ImageFile } = await import("/viewer/image-file.js");
      const choice = options.renderer === "wasm" ? "cpu" : options.renderer;
      const file = await new ImageFile(src, { ...options, renderer: choice }).done;
      window.canvas = new OffscreenCanvas(view.columns, view.rows);
      await file.render(view, (drawn) => canvas.getContext("2d").drawImage(drawn, 0, 0), more);
      file.close();
      return file.renderer;
    },
    { src, view, options, more },
  );
  return [renderer, (await pixels(used, "canvas")).data];
}

const viewOf = ({ region: [x, y, width, height], size: [columns, rows] }) => ({ x, y, width, height, columns, rows });

const entries = Object.entries(JSON.parse(readFileSync(path.join(VECTORS, "vectors.json"))));
const photo = JSON.parse(readFileSync(path.join(SAMPLES, "views.json"))).views;

for (const options of RENDERERS) {
  const name = Object.values(options).join(" ");
  test(`vectors, ${name}`, async () => {
    for (const [vector, { views }] of entries) {
      if (IN_OTHER_COLORS.includes(vector)) continue;
      for (const view of views) {
        const [renderer, found] = await rendered(`/vectors/${vector}.sspl`, viewOf(view), options);
        assert.equal(renderer, options.renderer);
        const most = difference(found, netpbm(path.join(VECTORS, view.image)));
        assert.ok(most <= LIMIT, `${view.image}: ${most}`);
      }
    }
  });
  test(`a photograph at three zooms, ${name}`, async () => {
    for (const view of photo) {
      const [, found] = await rendered("/samples/photo.sspl", viewOf(view), options);
      const most = difference(found, netpbm(path.join(SAMPLES, view.image)));
      assert.ok(most <= LIMIT, `${view.image}: ${most}`);
    }
  });
  test(`a profile is applied, ${name}`, async () => {
    const view = viewOf(entries.find(([vector]) => vector === "profile")[1].views[0]);
    const [, found] = await rendered("/vectors/profile.sspl", view, options);
    assert.ok(difference(found, netpbm(path.join(SAMPLES, "profile.ppm"))) <= 2.01);
    const raw = netpbm(path.join(VECTORS, "profile-0.pgm"));
    assert.ok(difference(found, raw) > 4, "the profile does nothing");
  });
  test(`ellipses and a part of the Gaussians, ${name}`, async () => {
    const view = viewOf(photo[0]);
    const [, whole] = await rendered("/samples/photo.sspl", view, options);
    const [, some] = await rendered("/samples/photo.sspl", view, options, { limit: 1000 });
    const [, rings] = await rendered("/samples/photo.sspl", view, options, { mode: "ellipses" });
    const [, none] = await rendered("/samples/photo.sspl", view, options, { limit: 0 });
    const error = (pixels) => pixels.reduce((sum, value, i) => sum + Math.abs(value - whole[i]), 0) / pixels.length;
    assert.ok(error(some) > 0.5 && error(some) < error(none) / 2);
    assert.ok(error(rings) > 10);
    assert.ok(none.every((value, i) => value === (i % 4 === 3 ? 255 : 0)));
  });
}

test("both renderers draw the same ellipses", async () => {
  const view = { x: 100, y: 100, width: 60, height: 40, columns: 480, rows: 320 };
  const more = { mode: "ellipses", limit: 3000 };
  const [, first] = await rendered("/samples/photo.sspl", view, RENDERERS[0], more);
  const [, second] = await rendered("/samples/photo.sspl", view, RENDERERS[1], more);
  const far = first.filter((value, i) => Math.abs(value - second[i]) > 8).length;
  assert.ok(far < first.length / 500, `${far} of ${first.length}`);
  assert.ok(first.some((value, i) => i % 4 < 3 && value > 150));
});

test("views between pixels and beyond the edge are the same from both decoders", async (t) => {
  if (RENDERERS.length < 4) return t.skip("scripts/wasm builds one of them");
  for (const [src, height] of Object.entries({ "/samples/photo.sspl": 1000, "/samples/alpha.sspl": 200 })) {
    const view = { x: -0.3, y: height - 99.6, width: 191.4, height: 100.2, columns: 383, rows: 200 };
    const [first, own] = await rendered(src, view, { renderer: "cpu" });
    const [second, compiled] = await rendered(src, view, { renderer: "wasm" });
    assert.deepEqual([first, second], ["cpu", "wasm"]);
    const most = own.reduce((most, value, i) => Math.max(most, Math.abs(value - compiled[i])), 0);
    assert.ok(most <= 1, `${src}: ${most}`);
  }
});

test("where the GPU fails the worker goes on", async () => {
  const view = viewOf(photo[1]);
  const renderers = await pageOfPlain.evaluate(async (view) => {
    const { ImageFile } = await import("/viewer/image-file.js");
    const file = await new ImageFile("/samples/photo.sspl", { renderer: "webgl" }).done;
    const found = [file.renderer];
    const lost = new Promise((resolve) => file.addEventListener("header", resolve));
    await file.render(view, (drawn) => drawn.getContext("webgl2").getExtension("WEBGL_lose_context").loseContext());
    await lost;
    await file.done;
    found.push(file.renderer);
    window.canvas = new OffscreenCanvas(view.columns, view.rows);
    await file.render(view, (drawn) => canvas.getContext("2d").drawImage(drawn, 0, 0));
    file.close();
    return found;
  }, view);
  assert.deepEqual(renderers, ["webgl", "cpu"]);
  const most = difference((await pixels(pageOfPlain, "canvas")).data, netpbm(path.join(SAMPLES, photo[1].image)));
  assert.ok(most <= LIMIT, `${most}`);
});

test("no page error", () => assert.deepEqual([...errors, ...errorsOfPlain], []));
