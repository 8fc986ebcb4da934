/** The viewer: one image in a whole page. Parameters: `src`, `original` and `name`; the hash is the view. */

import { Controls } from "./controls.js";
import { Original, errorMap } from "./original.js";
import { Pane } from "./pane.js";
import { ImageFile } from "./image-file.js";

const $ = (id) => document.getElementById(id);
const stage = $("stage");
const pane = new Pane(stage);
const grouped = new Intl.NumberFormat("en");

let name = "";
let original = null;
let heat = null; // { place, image }
let isAtStart = true;

new Controls(stage, pane);

// ---- Opening --------------------------------------------------------------------------------------------------------

/** `source`: an address, a Blob or an ArrayBuffer. */
export function open(source, title) {
  pane.image?.close();
  name = title;
  original = heat = null;
  isAtStart = true;
  for (const id of ["message", "start", "compare", "errors", "split"]) $(id).hidden = true;
  for (const id of ["ellipses", "compare", "errors"]) press(id, false);
  pane.mode = "image";
  $("growth").value = 1000;
  $("name").textContent = document.title = title;
  stage.setAttribute("aria-label", title);
  $("facts").textContent = "";
  const image = new ImageFile(source, { renderer: parameters.get("renderer") ?? "auto" });
  pane.show(image);
  const prepareTools = () => {
    stage.classList.toggle("alpha", image.hasAlpha);
    $("tools").hidden = false;
    showHash();
  };
  image.addEventListener("header", prepareTools, { once: true });
  for (const type of ["header", "progress", "pause", "load"]) image.addEventListener(type, () => describe(image));
  image.addEventListener("error", () => fail(image.error, image));
}

function describe(image) {
  if (image !== pane.image || !image.header) return;
  const { width, height, header, loaded, total, complete } = image;
  const bytes = header.bytes;
  const size = bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
  const ratio = Math.round((3 * width * height) / bytes);
  const gaussians = grouped.format(header.gaussians);
  $("facts").textContent = `${width} × ${height} · ${size} · ${ratio} : 1 · ${gaussians} Gaussians`;
  $("progress").hidden = complete || image.paused;
  $("progress").value = total ? loaded / total : 0;
  if (complete) $("status").textContent = `${name} is complete`;
}

function fail(error, image = null) {
  if (image && image !== pane.image) return;
  $("progress").hidden = true;
  $("message").hidden = false;
  $("message").textContent = name ? `${name}: ${error.message}` : error.message;
  if (!image?.header) $("start").hidden = false;
}

async function openOriginal(source) {
  try {
    const opened = await Original.open(source);
    const { width, height } = await pane.image.ready;
    if (opened.width !== width || opened.height !== height) {
      throw new Error(`the original has ${opened.width} × ${opened.height} pixels, the image ${width} × ${height}`);
    }
    original = opened;
    $("compare").hidden = $("errors").hidden = false;
    pane.update();
  } catch (error) {
    fail(error, pane.image);
  }
}

// ---- The view in the address ----------------------------------------------------------------------------------------

function showHash() {
  const found = /^#xywh=([-\d.]+),([-\d.]+),([-\d.]+),([-\d.]+)$/.exec(location.hash);
  if (!found || !pane.image?.header) return;
  const [x, y, width, height] = found.slice(1).map(Number);
  if (width > 0 && height > 0 && [x, y].every(Number.isFinite)) pane.region = { x, y, width, height };
}

function setAddress(address) {
  try {
    history.replaceState(null, "", address);
  } catch {
    // a page inside of another one may have no address
  }
}

let hashTimer = 0;
pane.addEventListener("move", () => {
  const { zoom } = pane.place;
  $("zoom").textContent = `${(100 * zoom).toFixed(zoom < 0.1 ? 1 : 0)} %`;
  clearTimeout(hashTimer);
  hashTimer = setTimeout(() => {
    if (isAtStart) {
      isAtStart = false; // the view that it was opened with
      if (!location.hash) return;
    }
    const { x, y, width, height } = pane.region;
    const text = [x, y, width, height].map((value) => +value.toFixed(2)).join(",");
    setAddress(`#xywh=${text}`);
  }, 250);
});
addEventListener("hashchange", showHash);

// ---- Beside the original --------------------------------------------------------------------------------------------

const isPressed = (id) => $(id).getAttribute("aria-pressed") === "true";
const press = (id, isOn) => $(id).setAttribute("aria-pressed", isOn);
const splitAt = () => Math.round(($("split").value / 1000) * stage.width);

pane.overlay = (context, place) => {
  if (!original || !pane.image?.header) return;
  const { width, height } = stage;
  if (isPressed("errors") && heat?.place === place) context.drawImage(heat.image, 0, 0);
  if (!isPressed("compare")) return;
  const x = splitAt();
  context.save();
  context.beginPath();
  context.rect(x, 0, width - x, height);
  context.clip();
  context.clearRect(x, 0, width - x, height);
  original.paint(context, place);
  context.restore();
  context.fillStyle = "#fff";
  context.fillRect(x - 1, 0, 3, height);
  context.fillStyle = "#000";
  context.fillRect(x, 0, 1, height);
};

pane.addEventListener("sharp", prepare);

async function prepare() {
  if (!original || !(isPressed("compare") || isPressed("errors"))) return;
  const { place } = pane;
  try {
    if (!(await original.prepare(place, stage.width, stage.height))) return;
  } catch (error) {
    return fail(error, pane.image);
  }
  if (isPressed("errors") && pane.isSharp && pane.place === place) {
    const ours = pane.pixels();
    const canvas = new OffscreenCanvas(stage.width, stage.height);
    const context = canvas.getContext("2d");
    original.paint(context, place);
    context.putImageData(errorMap(ours, context.getImageData(0, 0, canvas.width, canvas.height)), 0, 0);
    heat = { place, image: canvas };
  }
  pane.update();
}

/** The line between the two is dragged where it is. */
function dragSplit(event) {
  if (!isPressed("compare") || event.button > 0) return;
  const { left, width } = stage.getBoundingClientRect();
  const at = (x) => ((x - left) / width) * 1000;
  if (Math.abs(at(event.clientX) - $("split").value) > (16 / width) * 1000) return;
  event.stopImmediatePropagation();
  const move = ({ clientX }) => {
    $("split").value = at(clientX);
    pane.update();
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", () => removeEventListener("pointermove", move), { once: true });
}
stage.addEventListener("pointerdown", dragSplit, { capture: true });
$("split").addEventListener("input", () => pane.update());

// ---- Tools ----------------------------------------------------------------------------------------------------------

async function save() {
  const { x, y, width, height } = pane.region;
  const { image } = pane;
  const [left, top] = [Math.max(x, 0), Math.max(y, 0)];
  const across = Math.min(x + width, image.width) - left;
  const down = Math.min(y + height, image.height) - top;
  const [columns, rows] = [across, down].map((side) => Math.max(Math.round(side * pane.place.zoom), 1));
  const view = { x: left, y: top, width: across, height: down, columns, rows };
  const canvas = await image.toCanvas(view, { mode: pane.mode, limit: pane.limit });
  if (!canvas) return;
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const link = document.createElement("a");
  const place = [left, top, across, down].map(Math.round).join(",");
  link.download = `${name.replace(/\.sspl$/i, "")}-${place}.png`;
  link.href = URL.createObjectURL(blob);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const toggle = (id, then) => () => {
  press(id, !isPressed(id));
  then();
};

const tools = {
  in: () => pane.zoomBy(1.5),
  out: () => pane.zoomBy(1 / 1.5),
  fit: () => pane.fit(),
  actual: () => pane.zoomTo(1),
  ellipses: toggle("ellipses", () => {
    pane.mode = isPressed("ellipses") ? "ellipses" : "image";
    pane.update();
  }),
  compare: toggle("compare", () => {
    $("split").hidden = !isPressed("compare");
    prepare();
    pane.update();
  }),
  errors: toggle("errors", () => {
    heat = null;
    prepare();
    pane.update();
  }),
  save: () => save().catch((error) => fail(error)),
};
for (const [id, act] of Object.entries(tools)) $(id).addEventListener("click", act);

const KEYS = { e: "ellipses", c: "compare", d: "errors", s: "save" };
addEventListener("keydown", (event) => {
  const id = KEYS[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey || !id || $("tools").hidden || $(id).hidden) return;
  $(id).click();
});

$("growth").addEventListener("input", ({ target }) => {
  const { gaussians } = pane.image.header;
  pane.limit = target.value === "1000" ? Infinity : Math.round(gaussians * (target.value / 1000) ** 2);
  $("status").textContent = Number.isFinite(pane.limit) ? `${grouped.format(pane.limit)} Gaussians` : "All Gaussians";
  pane.update();
});

// ---- Files ----------------------------------------------------------------------------------------------------------

function take(file) {
  if (!file) return;
  if (pane.image?.header && file.type.startsWith("image/") && !/\.sspl$/i.test(file.name)) openOriginal(file);
  else {
    setAddress(location.pathname + location.search);
    open(file, file.name);
  }
}

$("file").addEventListener("change", ({ target }) => take(target.files[0]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files[0]);
});

const parameters = new URLSearchParams(location.search);
const src = parameters.get("src");
if (src) {
  const file = decodeURIComponent(new URL(src, location.href).pathname.split("/").pop());
  open(src, parameters.get("name") ?? file);
  if (parameters.has("original")) openOriginal(parameters.get("original"));
}
