/** The viewer's page behind `smartsplat view`: tools, keys, original, drop, address, accessibility, memory. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";

import {
  PACKAGES,
  SAMPLES,
  command,
  difference,
  launch,
  netpbm,
  open,
  pixels,
  serve,
  sleep,
  until,
} from "./harness.mjs";

const PHOTO = path.join(SAMPLES, "photo.sspl");
const PANNING = Number(process.env.PANNING_SECONDS ?? 12);

let browser, view;
before(async () => {
  browser = await launch("--js-flags=--expose-gc", "--enable-precise-memory-info");
  view = await command("view", PHOTO, "--original", path.join(SAMPLES, "photo.png"), "--no-browser");
});
after(async () => {
  await browser.close();
  const { code, said } = await view.stop();
  assert.equal(code, 0);
  assert.doesNotMatch(said, /Traceback/);
});

const facts = (page) => page.textContent("#facts");
const region = (page) => page.evaluate(() => decodeURIComponent(location.hash));
const isReady = () => document.querySelector("#facts").textContent && document.querySelector("#progress").hidden;
const opened = async (more = "", options = {}) => {
  const found = await open(browser, view.address + more, options);
  await until(found.page, isReady);
  await settled(found.page);
  return found;
};

/** RGBA of the stage. */
const stage = (page) => pixels(page, "document.querySelector('#stage')");

/** RGBA of the stage once it does not change any more. */
const settled = async (page) => {
  let last = await stage(page);
  for (let tries = 0; tries < 40; ++tries) {
    await sleep(300);
    const next = await stage(page);
    if (next.data.length === last.data.length && next.data.every((value, i) => value === last.data[i])) return next;
    last = next;
  }
  return last;
};

const changed = (a, b) => a.data.filter((value, i) => Math.abs(value - b.data[i]) > 12).length / a.data.length;

/** What is to be seen once something holds of it, or after ten seconds: without a GPU drawing takes a while. */
const seen = async (page, holds) => {
  let shown = await stage(page);
  for (let tries = 0; tries < 50 && !holds(shown); tries++) {
    await sleep(200);
    shown = await stage(page);
  }
  return shown;
};

test("it shows the file, its name and what it holds", async () => {
  const { page, errors, context } = await opened();
  assert.equal(await page.textContent("h1"), "photo.sspl");
  assert.match(await facts(page), /^1600 × 1000 · 1\d\d\.\d kB · 40 : 1 · [\d,]+ Gaussians$/);
  assert.equal(await page.title(), "photo.sspl");
  const { data } = await stage(page);
  assert.ok(data.filter((value, i) => i % 4 === 3 && value === 255).length > 0.9 * 1152 * 720);
  assert.deepEqual(errors, []);
  await context.close();
});

test("tools and keys", async () => {
  const { page, errors, context } = await opened();
  const fitted = await page.textContent("#zoom");
  assert.equal(fitted, "72 %");
  await page.click("#actual");
  assert.equal(await page.textContent("#zoom"), "100 %");
  await page.click("#in");
  assert.equal(await page.textContent("#zoom"), "150 %");
  await page.click("#out");
  await page.click("#fit");
  assert.equal(await page.textContent("#zoom"), fitted);
  await sleep(800);
  const plain = await stage(page);
  await page.keyboard.press("e");
  assert.equal(await page.getAttribute("#ellipses", "aria-pressed"), "true");
  const ellipses = await seen(page, (shown) => changed(plain, shown) > 0.3);
  assert.ok(changed(plain, ellipses) > 0.3);
  await page.keyboard.press("e");
  assert.equal(changed(plain, await seen(page, (shown) => changed(plain, shown) === 0)), 0);
  await page.fill("#growth", "200");
  assert.ok(changed(plain, await seen(page, (shown) => changed(plain, shown) > 0.05)) > 0.05);
  assert.match(await page.textContent("#status"), /^[\d,]+ Gaussians$/);
  await page.focus("#stage");
  await page.keyboard.press("+");
  assert.equal(await page.textContent("#zoom"), "90 %");
  assert.deepEqual(errors, []);
  await context.close();
});

test("beside the original, and where it differs", async () => {
  const { page, errors, context } = await opened();
  const ours = await stage(page);
  await page.click("#compare");
  const both = await settled(page);
  const half = (image, isRight) => ({
    data: image.data.filter(
      (_, i) => (i >> 2) % image.width > 644 === isRight && Math.abs(((i >> 2) % image.width) - 640) > 4,
    ),
  });
  assert.equal(changed(half(ours, false), half(both, false)), 0);
  const right = [half(ours, true), half(both, true)];
  assert.ok(
    right[0].data.some((value, i) => value !== right[1].data[i]),
    "the right half is the original",
  );
  assert.ok(changed(...right) < 0.05, "which looks alike");
  await page.focus("#split");
  await page.keyboard.press("Home");
  await sleep(200);
  assert.ok(half(ours, false).data.some((value, i, all) => value !== half(both, true).data[i] && all));
  await page.click("#compare");
  await page.click("#errors");
  await sleep(1000);
  const { data } = await stage(page);
  const mean = [0, 1, 2].map((c) => data.reduce((sum, value, i) => sum + (i % 4 === c ? value : 0), 0) / data.length);
  assert.ok(mean[2] > mean[0], "mostly small errors, which are blue");
  assert.ok(mean[2] > 1);
  assert.deepEqual(errors, []);
  await context.close();
});

test("the line is dragged", async () => {
  const { page, context } = await opened();
  await page.click("#compare");
  await sleep(300);
  const before = await region(page);
  await page.mouse.move(640, 300);
  await page.mouse.down();
  await page.mouse.move(900, 310, { steps: 4 });
  await page.mouse.up();
  assert.ok(Math.abs((await page.inputValue("#split")) - (900 / 1280) * 1000) < 3);
  assert.equal(await region(page), before, "the image has not moved");
  await context.close();
});

test("the view is in the address", async () => {
  const { page, context } = await opened();
  await page.click("#actual");
  await until(page, () => location.hash);
  const [x, y, width, height] = (await region(page)).replace("#xywh=", "").split(",").map(Number);
  assert.deepEqual([width, height], [1280, 720]);
  const again = await opened(`viewer/?src=/file/photo.sspl#xywh=${x},${y},${width / 2},${height / 2}`);
  assert.equal(await again.page.textContent("#zoom"), "200 %");
  await again.page.evaluate(() => (location.hash = "#xywh=0,0,320,180"));
  await until(again.page, () => document.querySelector("#zoom").textContent === "400 %");
  await context.close();
  await again.context.close();
});

test("what is to be seen is saved as it is seen", async () => {
  const { page, context } = await opened("viewer/?src=/file/photo.sspl#xywh=500,300,400,225");
  const download = page.waitForEvent("download");
  await page.click("#save");
  const saved = await download;
  assert.match(saved.suggestedFilename(), /^photo-500,300,400,225\.png$/);
  const file = await saved.path();
  const { width, height, data } = await stage(page);
  await page.evaluate(async (png) => {
    const image = await createImageBitmap(new Blob([Uint8Array.from(atob(png), (c) => c.charCodeAt(0))]));
    window.saved = new OffscreenCanvas(image.width, image.height);
    saved.getContext("2d").drawImage(image, 0, 0);
  }, readFileSync(file).toString("base64"));
  const found = await pixels(page, "saved");
  assert.deepEqual([found.width, found.height], [width, height]);
  assert.ok(data.every((value, i) => Math.abs(value - found.data[i]) <= 1));
  await context.close();
});

const dropped = (page, name, content) =>
  page.evaluate(
    ([name, content]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
      for (const type of ["dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
      }
    },
    [name, content.toString("base64")],
  );

test("files are dropped: ours, another one, a damaged one, a hostile one", async () => {
  const { page, errors, context } = await open(browser, `${view.address}viewer/`);
  assert.equal(await page.isVisible("#start"), true);
  await dropped(page, "alpha.sspl", readFileSync(path.join(SAMPLES, "alpha.sspl")));
  await until(page, isReady);
  assert.match(await facts(page), /^300 × 200/);
  assert.equal(await page.isVisible("#start"), false);
  await dropped(page, "notes.txt", Buffer.from("nothing of ours"));
  await until(page, () => !document.querySelector("#message").hidden);
  assert.equal(await page.textContent("#message"), "notes.txt: not a SmartSplat file: the signature is missing");
  const data = readFileSync(PHOTO);
  data[data.length - 100] ^= 1;
  await dropped(page, "damaged.sspl", data);
  await until(page, () => /damaged\.sspl: chunk \d+ is damaged/.test(document.querySelector("#message").textContent));
  const huge = Buffer.from(readFileSync(PHOTO));
  huge.writeUInt32LE(0x7fffffff, 12);
  await dropped(page, "huge.sspl", huge);
  await until(page, () => /huge\.sspl: the header is damaged/.test(document.querySelector("#message").textContent));
  await dropped(page, "photo.sspl", readFileSync(PHOTO));
  await until(
    page,
    () => document.querySelector("#message").hidden && /^1600/.test(document.querySelector("#facts").textContent),
  );
  await until(page, isReady);
  assert.deepEqual(errors, []);
  await context.close();
});

test("an original of another size is refused, one of the same is taken", async () => {
  const { page, context } = await open(browser, `${view.address}viewer/?src=/file/photo.sspl`);
  await until(page, isReady);
  assert.equal(await page.isVisible("#compare"), false);
  const png = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(10, 10);
    canvas.getContext("2d").fillRect(0, 0, 5, 5);
    const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
    return btoa(String.fromCharCode(...bytes));
  });
  await page.evaluate((png) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(png), (c) => c.charCodeAt(0))], "a.png", { type: "image/png" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }, png);
  await until(page, () => !document.querySelector("#message").hidden);
  assert.match(await page.textContent("#message"), /the original has 10 × 10 pixels, the image 1600 × 1000/);
  await context.close();
});

for (const [name, options] of [
  ["light, desktop", { colorScheme: "light" }],
  ["dark, desktop", { colorScheme: "dark" }],
  ["light, phone", { colorScheme: "light", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
  ["dark, phone", { colorScheme: "dark", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
]) {
  test(`accessibility, ${name}`, async () => {
    const { page, errors, context } = await opened("", { ...options, bypassCSP: true });
    await page.addScriptTag({ path: path.join(PACKAGES, "axe-core/axe.min.js") });
    const { violations } = await page.evaluate(() => axe.run());
    assert.deepEqual(
      violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]),
      [],
    );
    const order = [];
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press("Tab");
      order.push(await page.evaluate(() => document.activeElement.id));
    }
    for (const id of ["stage", "in", "out", "fit", "actual", "ellipses", "growth", "compare", "errors", "save"]) {
      assert.ok(order.includes(id), `${id} is reached by the keyboard`);
    }
    assert.deepEqual(errors, []);
    await context.close();
  });
}

test("two fingers zoom", async () => {
  const { page, context } = await opened("", { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  const before = parseFloat(await page.textContent("#zoom"));
  const session = await context.newCDPSession(page);
  const touch = (type, distance) =>
    session.send("Input.dispatchTouchEvent", {
      type,
      touchPoints:
        type === "touchEnd"
          ? []
          : [
              { x: 195 - distance, y: 400, id: 1 },
              { x: 195 + distance, y: 400, id: 2 },
            ],
    });
  await touch("touchStart", 40);
  for (let distance = 45; distance <= 80; distance += 5) await touch("touchMove", distance);
  await touch("touchEnd", 80);
  const zoom = parseFloat(await page.textContent("#zoom"));
  assert.ok(Math.abs(zoom / before - 2) < 0.2, `${zoom} after ${before}`);
  await context.close();
});

test("panning and zooming for a while takes no more memory", async () => {
  const { page, errors, context } = await opened();
  const heap = async () => {
    const sizes = [];
    for (let i = 0; i < 4; i++) {
      sizes.push(await page.evaluate(() => (gc(), performance.memory.usedJSHeapSize / 1e6)));
      await sleep(300);
    }
    return Math.min(...sizes);
  };
  const move = (seconds) =>
    page.evaluate(async (seconds) => {
      const canvas = document.querySelector("#stage");
      const end = performance.now() + 1000 * seconds;
      for (let i = 0; performance.now() < end; i++) {
        const key = ["ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown", "+", "+", "-", "-"][Math.floor(i / 20) % 8];
        canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        await new Promise(requestAnimationFrame);
      }
    }, seconds);
  await move(2);
  const before = await heap();
  await move(PANNING);
  const after = await heap();
  assert.ok(after < before + 10, `${before} MB, then ${after} MB`);
  assert.deepEqual(errors, []);
  await context.close();
});

test("the file is gone", async () => {
  const { page, context } = await open(browser, `${view.address}viewer/?src=/file/other.sspl`);
  await until(page, () => !document.querySelector("#message").hidden);
  assert.match(await page.textContent("#message"), /^other\.sspl: 404/);
  await context.close();
});

test("a large file that ends early, and one whose connection breaks", async () => {
  const data = readFileSync(path.join(SAMPLES, "large.sspl"));
  const half = data.length >> 1;
  let broken = 0;
  const server = await serve({
    pages: { "/": '<script type="module">import * as all from "/viewer/image-file.js"; window.all = all;</script>' },
    answer(request, response, pathname) {
      if (pathname !== "/short.sspl" && pathname !== "/broken.sspl") return false;
      const range = /bytes=(\d+)-/.exec(request.headers.range ?? "");
      if (pathname === "/short.sspl") {
        response.writeHead(range ? 416 : 200).end(range ? "" : data.subarray(0, half));
        return true;
      }
      const from = range ? Number(range[1]) : 0;
      const headers = { "Content-Length": data.length - from };
      if (range) headers["Content-Range"] = `bytes ${from}-${data.length - 1}/${data.length}`;
      response.writeHead(range ? 206 : 200, headers);
      if (broken++ < 2) response.write(data.subarray(from, from + half / 2), () => response.destroy());
      else response.end(data.subarray(from));
      return true;
    },
  });
  const { page, context } = await open(browser, server.address);
  await until(page, () => Boolean(window.all));
  const opened = (name) =>
    page.evaluate(
      (name) =>
        new all.ImageFile(name, { renderer: "cpu" }).done.then(
          (file) => file.loaded,
          (error) => error.message,
        ),
      name,
    );
  assert.equal(await opened("/short.sspl"), `truncated: the file ends after ${half} of ${data.length} bytes`);
  assert.equal(await opened("/broken.sspl"), data.length);
  assert.equal(broken, 3);
  await context.close();
  server.close();
});

test("large files are fetched as far as they are seen, from hosts with ranges and without", async () => {
  const data = readFileSync(path.join(SAMPLES, "large.sspl"));
  for (const kind of ["ranges", "wrong ranges", "no ranges"]) {
    const sent = [];
    const server = await serve({
      pages: {
        "/": '<script type="module">import { ImageFile } from "/viewer/image-file.js"; window.ImageFile = ImageFile;</script>',
      },
      answer(request, response, pathname) {
        if (pathname !== "/large.sspl") return false;
        const range = /bytes=(\d+)-/.exec(request.headers.range ?? "");
        const from = range && kind !== "no ranges" ? Number(range[1]) : 0;
        const headers = { "Content-Type": "image/x-sspl", "Content-Length": data.length - from };
        const said = kind === "wrong ranges" ? `bytes ${from}-9/10` : `bytes ${from}-${data.length - 1}/${data.length}`;
        if (range && kind !== "no ranges") headers["Content-Range"] = said;
        sent.push([request.headers.range, from]);
        response.writeHead(range && kind !== "no ranges" ? 206 : 200, headers);
        response.end(kind === "wrong ranges" && range ? Buffer.alloc(data.length - from) : data.subarray(from));
        return true;
      },
    });
    const { page, context } = await open(browser, server.address);
    await until(page, () => Boolean(window.ImageFile));
    const paused = await page.evaluate(async () => {
      window.file = new ImageFile("/large.sspl", { renderer: "cpu" });
      await file.ready;
      file.want(0.02);
      await new Promise((resolve) => file.addEventListener("pause", resolve));
      return [file.loaded, file.complete];
    });
    assert.ok(paused[0] < data.length && !paused[1], `${kind}: ${paused}`);
    const loaded = await page.evaluate(async () => {
      const view = { x: 0, y: 0, width: 64, height: 64, columns: 64, rows: 64 };
      await file.done;
      window.shown = new OffscreenCanvas(64, 64);
      await file.render(view, (drawn) => shown.getContext("2d").drawImage(drawn, 0, 0));
      return file.loaded;
    });
    assert.equal(loaded, data.length);
    assert.ok(difference((await pixels(page, "shown")).data, netpbm(path.join(SAMPLES, "large.ppm"))) <= 1.01);
    const expected = { ranges: 2, "wrong ranges": 3, "no ranges": 2 };
    assert.equal(sent.length, expected[kind], `${kind}: ${JSON.stringify(sent)}`);
    await context.close();
    server.close();
  }
});
