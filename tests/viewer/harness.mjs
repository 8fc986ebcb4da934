/** What the viewer's tests share: Chromium, a server of files, the folder of samples, and comparisons. */

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const HERE = path.dirname(fileURLToPath(import.meta.url));
export const VIEWER = path.join(HERE, "../../viewer");
export const VECTORS = path.join(HERE, "../vectors");
export const PACKAGES = path.join(HERE, "node_modules");
/** Files that tests/viewer/samples.py makes. */
export const SAMPLES = process.env.SAMPLES;

const ARGUMENTS = [
  ...["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  ...["--disable-component-update", "--disable-sync"],
];

export const launch = (...more) =>
  chromium.launch({ executablePath: process.env.CHROMIUM, args: [...ARGUMENTS, ...more] });

const MEDIA_TYPES = {
  ".js": "text/javascript",
  ".html": "text/html",
  ".css": "text/css",
  ".sspl": "image/x-sspl",
  ".wasm": "application/wasm",
};
const FOLDERS = { viewer: VIEWER, vectors: VECTORS, samples: SAMPLES, packages: PACKAGES };
const BLANK = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Test</title><link rel="icon" href="data:,">';

/**
 * Serves /viewer, /vectors, /samples and /packages, and `pages`, paths of HTML. `answer` may take a request before.
 * Resolves with { address, requests, close }; `requests` has what was asked for.
 */
export function serve({ pages = {}, answer = () => false } = {}) {
  const requests = [];
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    requests.push({ path: pathname, headers: request.headers });
    if (answer(request, response, pathname)) return;
    const [, folder, ...rest] = pathname.split("/");
    const type = MEDIA_TYPES[path.extname(pathname)] ?? "application/octet-stream";
    try {
      if (pathname === "/" || pages[pathname] !== undefined) {
        response.writeHead(200, { "Content-Type": "text/html" }).end(BLANK + (pages[pathname] ?? ""));
      } else {
        const content = readFileSync(path.join(FOLDERS[folder], ...rest));
        response.writeHead(200, { "Content-Type": type, "Content-Length": content.length }).end(content);
      }
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => {
      const close = () => {
        server.closeAllConnections();
        server.close();
      };
      resolve({ address: `http://127.0.0.1:${server.address().port}`, requests, close });
    }),
  );
}

/** A page whose errors fail the test that closes it: { page, errors }. */
export async function open(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 720 }, ...options });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  await page.goto(address);
  return { page, errors, context };
}

/** Runs `smartsplat` with arguments: { address, stop }, once it has printed the address. */
export async function command(...words) {
  const child = spawn(process.env.PYTHON, ["-m", "smartsplat", ...words], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stderr.on("data", (data) => (said += data));
  const address = await new Promise((resolve, reject) => {
    child.stdout.once("data", (data) => resolve(String(data).trim()));
    child.once("exit", (code) => reject(new Error(`exit code ${code}: ${said}`)));
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  return {
    address,
    async stop(signal = "SIGINT") {
      child.kill(signal);
      return { code: await ended, said };
    },
  };
}

/** Waits until a function of the page returns something true. */
export async function until(page, condition, argument, limit = 20000) {
  for (const end = Date.now() + limit; ; await sleep(20)) {
    const value = await page.evaluate(condition, argument);
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${limit} ms: ${condition}`);
  }
}

/** { width, height, data } of a canvas, which an expression names: RGBA. */
export async function pixels(page, canvas) {
  const { width, height, text } = await page.evaluate(async (name) => {
    const source = eval(name);
    const { width, height } = source;
    const { data } = source.getContext("2d").getImageData(0, 0, width, height);
    const reader = new FileReader();
    reader.readAsDataURL(new Blob([data]));
    await new Promise((resolve) => (reader.onload = resolve));
    return { width, height, text: reader.result.split(",")[1] };
  }, canvas);
  return { width, height, data: new Uint8Array(Buffer.from(text, "base64")) };
}

/** { columns, rows, channels, samples } of a PGM, PPM or PAM file, in 255ths. */
export function netpbm(file) {
  const content = readFileSync(file);
  const text = content.subarray(0, 200).toString("latin1");
  const pam = /^P7\nWIDTH (\d+)\nHEIGHT (\d+)\nDEPTH (\d+)\nMAXVAL (\d+)\n.*\nENDHDR\n/.exec(text);
  const plain = /^P([56])\n(\d+) (\d+)\n(\d+)\n/.exec(text);
  const [columns, rows] = (pam ? pam.slice(1, 3) : plain.slice(2, 4)).map(Number);
  const channels = pam ? Number(pam[3]) : plain[1] === "5" ? 1 : 3;
  const white = Number(pam ? pam[4] : plain[4]);
  const start = (pam ?? plain)[0].length;
  const samples = Float64Array.from({ length: columns * rows * channels }, (_, i) =>
    white > 255 ? content.readUInt16BE(start + 2 * i) / 257 : content[start + i],
  );
  return { columns, rows, channels, samples };
}

/** The most by which RGBA pixels differ from an image of `netpbm`; colours count as far as they are opaque. */
export function difference(pixels, { columns, rows, channels, samples }) {
  const hasAlpha = channels % 2 === 0;
  const colors = channels - hasAlpha;
  let most = 0;
  for (let i = 0; i < columns * rows; i++) {
    const theirs = samples.subarray(i * channels, (i + 1) * channels);
    const [alpha, expected] = hasAlpha ? [pixels[4 * i + 3], theirs[colors]] : [255, 255];
    most = Math.max(most, Math.abs(alpha - expected));
    for (let c = 0; c < 3; c++) {
      const color = theirs[Math.min(c, colors - 1)];
      most = Math.max(most, Math.abs(pixels[4 * i + c] * alpha - color * expected) / 255);
    }
  }
  return most;
}

export { sleep };
