/**
 * Measures the viewer in Chromium: node bench/viewer/measure.mjs LARGE.sspl SMALL.sspl
 *
 * Prints a JSON object for each number: { what, renderer, value, unit }. LARGE is panned and zoomed at 1280 x 720, SMALL
 * opened. Without a GPU "webgl" is Chromium's software renderer, which the viewer would not choose by itself.
 */

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

import { VIEWER, launch, open, serve, sleep, until } from "../../tests/viewer/harness.mjs";

const [large, small] = process.argv.slice(2);
const OPENINGS = 7;

const files = { "/large.sspl": readFileSync(large), "/small.sspl": readFileSync(small) };
const server = await serve({
  answer(request, response, pathname) {
    const data = files[pathname];
    if (!data) return false;
    response.writeHead(200, { "Content-Type": "image/x-sspl", "Content-Length": data.length }).end(data);
    return true;
  },
});

const say = (what, renderer, value, unit) =>
  console.log(JSON.stringify({ what, renderer, value: Number(value.toPrecision(4)), unit }));
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Memory of the page's process that it shares with no other, megabytes. */
function processMemory() {
  const processes = execFileSync("ps", ["-eo", "pid,args"]).toString().split("\n");
  const sizes = processes
    .filter((line) => /type=renderer/.test(line))
    .map((line) => {
      const smaps = readFileSync(`/proc/${line.trim().split(" ")[0]}/smaps_rollup`, "latin1");
      const kilobytes = [...smaps.matchAll(/^Private_\w+: +(\d+) kB/gm)].map((match) => Number(match[1]));
      return kilobytes.reduce((sum, size) => sum + size, 0) / 1e3;
    });
  return Math.max(...sizes);
}

async function decoding(browser) {
  const { page, context } = await open(browser, server.address);
  const rates = await page.evaluate(async () => {
    const { FileReader } = await import("/viewer/container.js");
    const { decodeSymbols, dequantize } = await import("/viewer/decode.js");
    const data = new Uint8Array(await (await fetch("/large.sspl")).arrayBuffer());
    const rates = [];
    for (let run = 0; run < 5; run++) {
      const start = performance.now();
      const reader = new FileReader();
      let count = 0;
      for (const chunk of reader.push(data)) {
        if (!chunk.coded) continue;
        dequantize(decodeSymbols(chunk, reader.header.color), reader.header.color);
        count += chunk.count;
      }
      rates.push((1000 * count) / (performance.now() - start));
    }
    return rates;
  });
  say("decoded", "", Math.max(...rates) / 1e6, "million Gaussians a second");
  await context.close();
}

/** From the start of the navigation to the first pixels of the image, and to all of it. */
async function opening(browser, renderer) {
  const times = { first: [], sharp: [] };
  for (let i = 0; i < OPENINGS; i++) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 720 } });
    await context.addInitScript(() => {
      const look = () => {
        const canvas = document.querySelector("#stage");
        const context = canvas?.width > 300 && canvas.getContext("2d");
        const pixel = context && context.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
        if (pixel && pixel[0] + pixel[1] + pixel[2] > 30) window.first = performance.now();
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    const page = await context.newPage();
    await page.goto(`${server.address}/viewer/index.html?src=/small.sspl&renderer=${renderer}`);
    await until(page, () => window.first);
    times.first.push(await page.evaluate(() => window.first));
    const complete = await until(
      page,
      () => document.querySelector("#status").textContent && performance.now(),
      null,
      60000,
    );
    times.sharp.push(complete);
    await context.close();
  }
  say("first pixels of the small file", renderer, median(times.first), "ms");
  say("all of the small file has arrived", renderer, median(times.sharp), "ms");
}

async function moving(browser, renderer) {
  const { page, context } = await open(browser, server.address);
  const moves = await page.evaluate(async (renderer) => {
    document.body.style.margin = 0;
    const canvas = document.body.appendChild(document.createElement("canvas"));
    canvas.style = "width:1280px;height:720px;display:block";
    const { Pane } = await import("/viewer/pane.js");
    const { ImageFile } = await import("/viewer/image-file.js");
    const pane = new Pane(canvas);
    const image = new ImageFile("/large.sspl", { renderer });
    pane.show(image);
    await image.done;
    const sharp = async () => {
      const start = performance.now();
      while (!pane.isSharp) await new Promise((resolve) => setTimeout(resolve, 4));
      return performance.now() - start;
    };
    await sharp();
    const found = {};
    const run = async (name, frames, move) => {
      const times = [];
      let last = performance.now();
      for (let i = 0; i < frames; i++) {
        move(i);
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - last);
        last = performance.now();
      }
      times.sort((a, b) => a - b);
      const total = times.reduce((sum, time) => sum + time);
      found[name] = { rate: (1000 * frames) / total, slow: times[Math.floor(0.95 * frames)], sharp: await sharp() };
    };
    await run("zooming in", 60, () => pane.zoomBy(1.05));
    await run("panning", 120, () => pane.moveBy(-8, -4));
    await run("zooming out", 60, () => pane.zoomBy(1 / 1.05));
    pane.zoomTo(1);
    await sharp();
    await run("panning at 1:1", 240, () => pane.moveBy(-10, -3));
    return found;
  }, renderer);
  for (const [name, { rate, slow, sharp }] of Object.entries(moves)) {
    say(name, renderer, rate, "frames a second");
    say(`${name}, 95 of 100 frames within`, renderer, slow, "ms");
    say(`${name}, sharp after`, renderer, sharp, "ms");
  }
  say("memory of the page with the large file", renderer, processMemory(), "MB");
  await context.close();
}

const version = JSON.parse(readFileSync(`${VIEWER}/package.json`)).version;
console.log(JSON.stringify({ what: "viewer", renderer: "", value: version, unit: "" }));
const browser = await launch();
console.log(JSON.stringify({ what: "Chromium", renderer: "", value: browser.version(), unit: "" }));
await decoding(browser);
for (const renderer of ["cpu", "webgl"]) await opening(browser, renderer);
await sleep(500);
{
  const { context } = await open(browser, server.address);
  say("memory of an empty page", "", processMemory(), "MB");
  await context.close();
}
for (const renderer of ["cpu", "webgl"]) await moving(browser, renderer);
await browser.close();
server.close();
