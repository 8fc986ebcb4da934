/** Tiles for OpenSeadragon, rendered in the page from one .sspl file. */

import { ImageFile } from "./image-file.js";

/**
 * Resolves with a tile source: `viewer.open(await tileSource(OpenSeadragon, "photo.sspl"))`.
 *
 * Options: `tileSize` in pixels; `renderer` as an ImageFile takes it. The image is the source's `image`; close it when
 * the source is not needed any more.
 */
export async function tileSource(OpenSeadragon, src, { tileSize = 512, renderer = "auto" } = {}) {
  const image = await new ImageFile(src, { renderer }).ready;
  const { width, height } = image;
  const source = new OpenSeadragon.TileSource({ width, height, tileSize, tileOverlap: 0 });
  return Object.assign(source, {
    image,
    getTileUrl: (level, x, y) => `${src}#${level}/${x}/${y}`,
    hasTransparency: () => image.hasAlpha,
    downloadTileStart(job) {
      const [level, x, y] = job.src.split("#").pop().split("/").map(Number);
      job.userData.abort = new AbortController();
      tile(image, 2 ** (level - source.maxLevel), tileSize, x, y, job.userData.abort.signal).then(
        (context) => context && job.finish(context, null, "context2d"),
        (error) => job.fail(error.message, null),
      );
    },
    downloadTileAbort: (job) => job.userData.abort.abort(),
  });
}

async function tile(image, scale, side, x, y, signal) {
  await image.done;
  const columns = Math.min(side, Math.ceil(image.width * scale) - x * side);
  const rows = Math.min(side, Math.ceil(image.height * scale) - y * side);
  const [left, top, width, height] = [x * side, y * side, columns, rows].map((pixels) => pixels / scale);
  const view = { x: left, y: top, width, height, columns, rows };
  return (await image.toCanvas(view, { signal }))?.getContext("2d");
}
