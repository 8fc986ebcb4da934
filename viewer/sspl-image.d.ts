/** `<sspl-image>`, a custom element; importing it defines it. */

import type { ImageFile } from "./image-file.js";
import type { Pane } from "./pane.js";

/** Events: `load`, `error` and `progress`, which have `loaded`, `total` (bytes) and `error`. */
export class SsplImage extends HTMLElement {
  src: string;
  readonly image: ImageFile | null;
  readonly pane: Pane | null;
  readonly complete: boolean;
  readonly naturalWidth: number;
  readonly naturalHeight: number;
}

declare global {
  interface HTMLElementTagNameMap {
    "sspl-image": SsplImage;
  }
}
