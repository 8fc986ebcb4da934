/** What the decoder and the renderers share: how Gaussians lie in memory, and which of them a view needs. */

/** Pixels of the side of a tile, in which extents are given. */
export const TILE = 64;

/** Standard deviations from the mean at which a Gaussian ends. */
export const CUTOFF = 3;

/** Values of a channel in a table of colours. */
export const GRID = 33;

/**
 * Bytes of a Gaussian: mean x and y (32-bit floats, pixels); long and short scale (16-bit integers s:
 * 2^((s - SCALE_BIAS) / SCALE_UNITS) pixels); rotation (16-bit integer r: π r / 65536); red, green and blue (16-bit
 * floats).
 */
export const RECORD_BYTES = 20;
export const SCALE_BIAS = 12288;
export const SCALE_UNITS = 2048;

/** Variance that the minification filter adds, pixels squared, where a pixel of the image is `scale` of the output. */
export const filterVariance = (scale) => (scale < 1 ? 0.1 * (1 / (scale * scale) - 1) : 0);

/** Whether a group may touch a view { x, y, width, height, columns, rows }: its region and the size of the output. */
export function touches({ extent }, view) {
  const marginX = CUTOFF * Math.sqrt(filterVariance(view.columns / view.width));
  const marginY = CUTOFF * Math.sqrt(filterVariance(view.rows / view.height));
  const [x0, y0, x1, y1] = extent.map((edge) => edge * TILE);
  return (
    x0 < view.x + view.width + marginX &&
    x1 > view.x - marginX &&
    y0 < view.y + view.height + marginY &&
    y1 > view.y - marginY
  );
}
