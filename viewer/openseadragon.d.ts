/** Tiles for OpenSeadragon, rendered in the page. */

import type { ImageFile } from "./image-file.js";

/** Resolves with a source for `viewer.open`. `openSeadragon`: the library itself. */
export function tileSource(
  openSeadragon: unknown,
  src: string,
  options?: { tileSize?: number; renderer?: "auto" | "webgl" | "cpu" },
): Promise<object & { readonly image: ImageFile }>;
