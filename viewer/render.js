/** Gaussians -> pixels on the GPU: WebGL2, a quad for each Gaussian, added into a target of floats. */

import { CUTOFF, GRID, RECORD_BYTES, SCALE_BIAS, SCALE_UNITS, filterVariance, touches } from "./gaussians.js";
import { BANDS, NOISE_SIDE, noise } from "./grain.js";

const CHUNK = 4096; // Gaussians that are drawn at once, at most
const SLICE = 8; // milliseconds of the GPU's time between two frames

const SPLAT_VERTEX = `#version 300 es
precision highp float;
uniform vec2 origin, rest, scale, size, variance;  // origin + rest: the view's corner, in two floats
uniform bool rings;
in vec2 mean;
in vec3 shape;
in vec3 color;
flat out vec3 c;
flat out vec2 center;  // in pixels of the output
flat out vec3 inverse;  // from an offset in pixels to one in deviations: (x, 0), (y, z)
const float EDGE = exp(-${CUTOFF * CUTOFF}. / 2.);
void main() {
  float u2 = exp2((shape.x - ${SCALE_BIAS}.) / ${SCALE_UNITS / 2}.), v2 = exp2((shape.y - ${SCALE_BIAS}.) / ${SCALE_UNITS / 2}.);
  float angle = shape.z * ${Math.PI} / 65536.;
  float cosine = cos(angle), sine = sin(angle);
  vec2 flat2 = vec2(cosine * cosine * u2 + sine * sine * v2, sine * sine * u2 + cosine * cosine * v2);
  float determinant = u2 * v2 + dot(flat2.yx, variance) + variance.x * variance.y;
  float a = sqrt(flat2.x + variance.x), b = cosine * sine * (u2 - v2) / a, d = sqrt(determinant) / a;
  vec2 corner = ${CUTOFF}. * (2. * vec2(gl_VertexID & 1, gl_VertexID >> 1) - 1.);
  center = ((mean - origin) - rest) * scale;
  inverse = vec3(1. / a, -b / (a * d), 1. / d) / scale.xxy;
  vec2 pixel = center + vec2(a * corner.x, b * corner.x + d * corner.y) * scale;
  gl_Position = vec4(2. * pixel / size - 1., 0., 1.);
  vec3 strength = abs(color);
  c = rings ? .8 * strength / max(max(strength.r, strength.g), max(strength.b, 1e-6))
            : color * (sqrt(u2 * v2 / determinant) / (1. - EDGE));
}`;

const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
uniform bool rings, opacity;
flat in vec3 c, inverse;
flat in vec2 center;
out vec4 sum;
void main() {
  vec2 offset = gl_FragCoord.xy - center;  // vertices, and what lies between them, are too coarse
  vec2 t = vec2(offset.x * inverse.x, dot(offset, inverse.yz));
  float q = dot(t, t);
  if (q >= ${CUTOFF * CUTOFF}.) discard;
  float w = exp(-.5 * q) - exp(-${CUTOFF * CUTOFF}. / 2.);
  if (rings) {  // a pixel thick
    float r = sqrt(q);
    w = max(1. - abs(r - 1.) * r / length(vec2(dot(t, inverse.xy), t.y * inverse.z)), 0.);
  }
  sum = opacity ? vec4(0, 0, 0, w * c.r) : vec4(w * c, 0);
}`;

const PRESENT_VERTEX = `#version 300 es
void main() { gl_Position = vec4(4. * vec2(gl_VertexID & 1, gl_VertexID >> 1) - 1., 0., 1.); }`;

const PRESENT_FRAGMENT = `#version 300 es
precision highp float;
uniform highp sampler2D sums, mask;
uniform highp sampler3D table;
uniform bool opacity, masked, converted;
uniform int height;  // of the canvas, whose rows count from below
uniform highp isampler2DArray noise;
uniform highp sampler2DArray strengths;
uniform highp sampler2D across, down;  // where samples lie in both: Grain.axes
uniform vec3 parts;  // of the bands that the view leaves; 0: there is no grain
uniform int bands;
out vec4 pixel;
float strengthAt(int band, vec4 x, vec4 y) {
  vec4 cells = vec4(
    texelFetch(strengths, ivec3(x.x, y.x, band), 0).r, texelFetch(strengths, ivec3(x.y, y.x, band), 0).r,
    texelFetch(strengths, ivec3(x.x, y.y, band), 0).r, texelFetch(strengths, ivec3(x.y, y.y, band), 0).r
  );
  vec2 column = mix(cells.xz, cells.yw, x.z);
  return mix(column.x, column.y, y.z);
}
float ofPixel(ivec2 at, ivec2 next, vec4 x, vec4 y) {
  vec4 cellX = texelFetch(across, ivec2(at.x, 1 + next.x), 0), cellY = texelFetch(down, ivec2(at.y, 1 + next.y), 0);
  float sum = 0.;
  for (int band = 0; band < bands; band++)
    if (parts[band] > 0.)
      sum += parts[band] * float(texelFetch(noise, ivec3(x[next.x], y[next.y], band), 0).r) * strengthAt(band, cellX, cellY);
  return sum;
}
float grainAt(ivec2 at, vec3 color) {
  vec4 x = texelFetch(across, ivec2(at.x, 0), 0), y = texelFetch(down, ivec2(at.y, 0), 0);
  float grain = ofPixel(at, ivec2(0), x, y);
  if (x.z > 0.) grain = mix(grain, ofPixel(at, ivec2(1, 0), x, y), x.z);
  if (y.z > 0.) {
    float below = ofPixel(at, ivec2(0, 1), x, y);
    if (x.z > 0.) below = mix(below, ofPixel(at, ivec2(1), x, y), x.z);
    grain = mix(grain, below, y.z);
  }
  float luma = dot(color, vec3(.25, .5, .25));
  return grain * clamp(4. * min(luma, 1. - luma), 0., 1.);
}
void main() {
  ivec2 at = ivec2(gl_FragCoord.x, height - 1 - int(gl_FragCoord.y));
  vec4 sum = texelFetch(sums, at, 0);
  if (bands > 0) sum.rgb += grainAt(at, sum.rgb);
  float level = masked ? texelFetch(mask, at, 0).r : 0.;
  pixel = clamp(vec4(sum.rgb, opacity ? max(sum.a, 0.) + level : 1.), 0., 1.);
  if (converted) pixel.rgb = texture(table, (pixel.rgb * ${GRID - 1}. + .5) / ${GRID}.).rgb;
}`;

function program(gl, vertex, fragment, attributes = []) {
  const result = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(result, shader);
  }
  attributes.forEach((name, index) => gl.bindAttribLocation(result, index, name));
  gl.linkProgram(result);
  if (!gl.getProgramParameter(result, gl.LINK_STATUS) && !gl.isContextLost())
    throw new Error(gl.getProgramInfoLog(result));
  const uniform = {};
  for (let i = gl.getProgramParameter(result, gl.ACTIVE_UNIFORMS) - 1; i >= 0; i--) {
    const { name } = gl.getActiveUniform(result, i);
    uniform[name] = gl.getUniformLocation(result, name);
  }
  return { result, uniform };
}

function unfiltered(gl, target) {
  for (const name of ["MIN_FILTER", "MAG_FILTER"]) gl.texParameteri(target, gl[`TEXTURE_${name}`], gl.NEAREST);
}

/** Renders views of the groups that have been added; throws where WebGL2 cannot. */
export class GlRenderer {
  canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  #gl;
  #format;
  #target = null; // { texture, buffer }
  #splat;
  #present;
  #mask;
  #table;
  #grain = null;
  #noise;
  #strengths;
  #across;
  #down;
  #isConverted = false;
  #chunks = [];
  #drawn = null; // { key, chunk, count, limit }: what the target holds
  #budget = 2 ** 22; // fragments of a slice

  /** `anyDevice`: also where a processor stands in for the GPU, which is slower than the worker. */
  constructor({ anyDevice = false, precision = 32 } = {}) {
    const options = { alpha: true, premultipliedAlpha: false, antialias: false, depth: false };
    const gl = this.canvas.getContext("webgl2", { ...options, failIfMajorPerformanceCaveat: !anyDevice });
    if (!gl) throw new Error("no WebGL2");
    const names = gl.getExtension("WEBGL_debug_renderer_info");
    const device = names ? gl.getParameter(names.UNMASKED_RENDERER_WEBGL) : "";
    if (!anyDevice && /swiftshader|llvmpipe|softpipe|basic render/i.test(device)) throw new Error("no GPU");
    this.#gl = gl;
    const deep = gl.getExtension("EXT_color_buffer_float");
    const canBlend = deep && precision === 32 && gl.getExtension("EXT_float_blend");
    if (!deep && !gl.getExtension("EXT_color_buffer_half_float")) throw new Error("no targets of floats");
    this.#format = canBlend ? gl.RGBA32F : gl.RGBA16F;
    this.#splat = program(gl, SPLAT_VERTEX, SPLAT_FRAGMENT, ["mean", "shape", "color"]);
    this.#present = program(gl, PRESENT_VERTEX, PRESENT_FRAGMENT);
    this.#mask = gl.createTexture();
    this.#table = gl.createTexture();
    [this.#noise, this.#strengths, this.#across, this.#down] = Array.from({ length: 4 }, () => gl.createTexture());
    gl.disable(gl.DITHER);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  /** Converts colours by what `colorTable` makes. */
  setColors(table) {
    const gl = this.#gl;
    this.#isConverted = true;
    gl.bindTexture(gl.TEXTURE_3D, this.#table);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.RGBA8, GRID, GRID, GRID, 0, gl.RGBA, gl.UNSIGNED_BYTE, table);
    for (const name of ["MIN_FILTER", "MAG_FILTER"]) gl.texParameteri(gl.TEXTURE_3D, gl[`TEXTURE_${name}`], gl.LINEAR);
    for (const axis of "STR") gl.texParameteri(gl.TEXTURE_3D, gl[`TEXTURE_WRAP_${axis}`], gl.CLAMP_TO_EDGE);
  }

  setGrain(grain) {
    const gl = this.#gl;
    this.#grain = grain;
    const array = (texture, format, columns, rows, layers, form, type, values) => {
      gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
      gl.texImage3D(gl.TEXTURE_2D_ARRAY, 0, format, columns, rows, layers, 0, form, type, values);
      unfiltered(gl, gl.TEXTURE_2D_ARRAY);
    };
    array(this.#noise, gl.R8I, NOISE_SIDE, NOISE_SIDE, BANDS, gl.RED_INTEGER, gl.BYTE, noise());
    const { columns, rows, bands, strengths } = grain;
    array(this.#strengths, gl.R32F, columns, rows, bands, gl.RED, gl.FLOAT, strengths);
  }

  add({ records, count, extent, area, isAlpha }) {
    const gl = this.#gl;
    for (let from = 0; from < count; from += CHUNK) {
      const some = Math.min(CHUNK, count - from);
      const array = gl.createVertexArray();
      gl.bindVertexArray(array);
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, new Uint8Array(records, from * RECORD_BYTES, some * RECORD_BYTES), gl.STATIC_DRAW);
      [
        [2, gl.FLOAT, 0],
        [3, gl.UNSIGNED_SHORT, 8],
        [3, gl.HALF_FLOAT, 14],
      ].forEach(([size, type, offset], index) => {
        gl.enableVertexAttribArray(index);
        gl.vertexAttribPointer(index, size, type, false, RECORD_BYTES, offset);
        gl.vertexAttribDivisor(index, 1);
      });
      this.#chunks.push({ array, count: some, extent, area: (area * some) / count, isAlpha });
    }
  }

  /**
   * Draws a view { x, y, width, height, columns, rows } on `canvas`, which has at least its size; false if aborted.
   *
   * `limit`: Gaussians, in the order of the file. `mask`: opacity [columns * rows] that is added.
   */
  async render(view, { limit = Infinity, mode = "image", mask = null, hasAlpha = false, signal = null } = {}) {
    const gl = this.#gl;
    const key = JSON.stringify([view, mode]);
    if (this.#drawn?.key !== key || this.#drawn.limit < Math.min(limit, this.#drawn.count)) {
      this.#clear(view.columns, view.rows);
      this.#drawn = { key, chunk: 0, count: 0, limit };
    }
    const drawn = this.#drawn;
    drawn.limit = limit;
    while (drawn.chunk < this.#chunks.length && drawn.count < limit) {
      const started = performance.now();
      let cost = 0;
      this.#use(view, mode);
      for (; drawn.chunk < this.#chunks.length && drawn.count < limit && cost < this.#budget; drawn.chunk++) {
        const chunk = this.#chunks[drawn.chunk];
        if (touches(chunk, view)) cost += this.#draw(chunk, view, Math.min(chunk.count, limit - drawn.count));
        drawn.count += chunk.count;
      }
      const wait = this.#wait(started);
      if (drawn.chunk < this.#chunks.length && drawn.count < limit) {
        await wait;
        if (signal?.aborted || this.#drawn !== drawn || gl.isContextLost()) return false;
      }
    }
    if (gl.isContextLost()) return false;
    this.#show(view, hasAlpha, mask, mode === "image" ? this.#grain : null);
    return true;
  }

  #clear(columns, rows) {
    const gl = this.#gl;
    const { canvas } = this;
    if (canvas.width < columns || canvas.height < rows || !this.#target) {
      canvas.width = Math.max(canvas.width, columns);
      canvas.height = Math.max(canvas.height, rows);
      if (this.#target) {
        gl.deleteTexture(this.#target.texture);
        gl.deleteFramebuffer(this.#target.buffer);
      }
      const texture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texStorage2D(gl.TEXTURE_2D, 1, this.#format, canvas.width, canvas.height);
      const buffer = gl.createFramebuffer();
      gl.bindFramebuffer(gl.FRAMEBUFFER, buffer);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
      this.#target = { texture, buffer };
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.#target.buffer);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  #use(view, mode) {
    const gl = this.#gl;
    const { result, uniform } = this.#splat;
    const [scaleX, scaleY] = [view.columns / view.width, view.rows / view.height];
    const [x, y] = [Math.fround(view.x), Math.fround(view.y)];
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.#target.buffer);
    gl.viewport(0, 0, view.columns, view.rows);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE);
    gl.useProgram(result);
    gl.uniform2f(uniform.origin, x, y);
    gl.uniform2f(uniform.rest, view.x - x, view.y - y);
    gl.uniform2f(uniform.scale, scaleX, scaleY);
    gl.uniform2f(uniform.size, view.columns, view.rows);
    gl.uniform2f(uniform.variance, filterVariance(scaleX), filterVariance(scaleY));
    gl.uniform1i(uniform.rings, mode === "ellipses");
  }

  /** Draws so many Gaussians of a chunk; returns about how many fragments they have. */
  #draw({ array, count, area, isAlpha }, view, some) {
    const gl = this.#gl;
    gl.uniform1i(this.#splat.uniform.opacity, isAlpha);
    gl.bindVertexArray(array);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, some);
    const pixels = view.columns * view.rows;
    return Math.min((area * pixels) / (view.width * view.height), count * pixels) + 16 * count;
  }

  /** Resolves when the GPU is done, and sets how much it gets next time. */
  async #wait(started) {
    const gl = this.#gl;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    do await new Promise((resolve) => setTimeout(resolve));
    while (!gl.isContextLost() && gl.clientWaitSync(fence, 0, 0) === gl.TIMEOUT_EXPIRED);
    gl.deleteSync(fence);
    const change = SLICE / Math.max(performance.now() - started, 1);
    this.#budget = Math.min(Math.max(this.#budget * Math.min(Math.max(change, 0.5), 2), 2 ** 16), 2 ** 34);
  }

  #show(view, hasAlpha, mask, grain) {
    const gl = this.#gl;
    const { result, uniform } = this.#present;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, this.canvas.height - view.rows, view.columns, view.rows); // its upper left corner
    gl.disable(gl.BLEND);
    gl.useProgram(result);
    const [columns, rows] = mask ? [view.columns, view.rows] : [1, 1];
    for (const [unit, texture] of [this.#target.texture, this.#mask].entries()) {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      unfiltered(gl, gl.TEXTURE_2D);
    }
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R32F, columns, rows, 0, gl.RED, gl.FLOAT, mask ?? new Float32Array(1));
    gl.activeTexture(gl.TEXTURE2);
    gl.bindTexture(gl.TEXTURE_3D, this.#table);
    gl.activeTexture(gl.TEXTURE0);
    const samplers = ["sums", "mask", "table", "noise", "strengths", "across", "down"];
    samplers.forEach((name, unit) => gl.uniform1i(uniform[name], unit));
    gl.uniform1i(uniform.bands, grain ? grain.bands : 0);
    if (grain) this.#showGrain(view, grain);
    gl.uniform1i(uniform.opacity, hasAlpha);
    gl.uniform1i(uniform.masked, Boolean(mask));
    gl.uniform1i(uniform.converted, this.#isConverted);
    gl.uniform1i(uniform.height, this.canvas.height);
    gl.bindVertexArray(null);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  #showGrain(view, grain) {
    const gl = this.#gl;
    gl.uniform3fv(this.#present.uniform.parts, grain.parts(view));
    const axes = grain.axes(view);
    [this.#across, this.#down].forEach((texture, i) => {
      gl.activeTexture(gl.TEXTURE5 + i);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, axes[i].length / 12, 3, 0, gl.RGBA, gl.FLOAT, axes[i]);
      unfiltered(gl, gl.TEXTURE_2D);
    });
    [this.#noise, this.#strengths].forEach((texture, i) => {
      gl.activeTexture(gl.TEXTURE3 + i);
      gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    });
    gl.activeTexture(gl.TEXTURE0);
  }

  /** Gives the GPU's memory back. */
  close() {
    this.#gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
