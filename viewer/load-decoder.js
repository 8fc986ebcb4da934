/** The decoder in WebAssembly, if it lies beside the modules; a page that holds all modules itself has none. */

import { load } from "./sspl.js";

export const loadDecoder = () => load(fetch(new URL("./sspl.wasm", import.meta.url)));
