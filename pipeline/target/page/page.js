"use strict";
// One page, one model: a picture from disk or camera, decoded and brought to the model's size as ingest does it, answered by
// onnxruntime-web in this browser. `answers` is also what the tests of this target call.

const $ = (id) => document.getElementById(id);
const GRID = 8; // cells of the heat map along each side
let session, facts;

const ready = (async () => {
  ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
  ort.env.wasm.wasmPaths = new URL("ort/", document.baseURI).href;
  facts = await (await fetch("model.json")).json();
  session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
  const title = facts.data ? `${facts.data}: ${facts.task}` : facts.task;
  document.title = title;
  $("title").textContent = title;
  for (const [name, value] of Object.entries({ Labels: (facts.labels || []).join(", "), Data: facts.data, Licence: facts.data_licence,
    Input: `${facts.decoder.width} × ${facts.decoder.height} pixels, ${facts.decoder.channels === 1 ? "grey" : "colour"}`,
    "Digest of the data": facts.data_digest, "Unknown inputs": facts.unknown ? `${facts.unknown.detector}, ${facts.unknown.false_alarm} false alarms asked` : "no detector" })) {
    if (!value) continue;
    const term = document.createElement("dt"), said = document.createElement("dd");
    term.textContent = name;
    said.textContent = value;
    $("facts").append(term, said);
  }
  $("status").textContent = "Ready.";
})();
ready.catch((error) => { $("status").textContent = `The model could not be loaded: ${error.message}`; });

/** Outputs by name, as plain arrays, of `count` images whose bytes lie one after the other (height, width, channels). */
async function answers(bytes, count) {
  await ready;
  const { height, width, channels } = facts.decoder;
  const input = new ort.Tensor("uint8", bytes, [count, height, width, channels]);
  const found = await session.run({ [session.inputNames[0]]: input });
  return Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, { dims: tensor.dims, data: Array.from(tensor.data, Number) }]));
}

/** Resample one axis as Pillow does: `filter` of support `reach`, rounded to whole grey levels. */
function along(source, width, height, channels, target, filter, reach) {
  const out = new Uint8ClampedArray(target * height * channels);
  const scale = width / target, spread = Math.max(scale, 1), support = reach * spread;
  for (let x = 0; x < target; x++) {
    const centre = (x + 0.5) * scale;
    const first = Math.max(Math.floor(centre - support + 0.5), 0), last = Math.min(Math.floor(centre + support + 0.5), width);
    const weights = [];
    let sum = 0;
    for (let at = first; at < last; at++) { const w = filter((at - centre + 0.5) / spread); weights.push(w); sum += w; }
    for (let y = 0; y < height; y++) for (let c = 0; c < channels; c++) {
      let total = 0;
      for (let at = first; at < last; at++) total += weights[at - first] * source[(y * width + at) * channels + c];
      out[(y * target + x) * channels + c] = Math.floor(total / sum + 0.5);
    }
  }
  return out;
}

function turned(source, width, height, channels) {
  const out = new Uint8ClampedArray(source.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) for (let c = 0; c < channels; c++)
    out[(x * height + y) * channels + c] = source[(y * width + x) * channels + c];
  return out;
}

const box = (x) => (x > -0.5 && x <= 0.5 ? 1 : 0), hat = (x) => Math.max(0, 1 - Math.abs(x));

function resized(source, width, height, channels, toWidth, toHeight) {
  const step = (w, h, filter, reach) => {
    if (w !== width) { source = along(source, width, height, channels, w, filter, reach); width = w; }
    if (h !== height) {
      source = turned(along(turned(source, width, height, channels), height, width, channels, h, filter, reach), h, width, channels);
      height = h;
    }
  };
  step(Math.min(toWidth, width), Math.min(toHeight, height), box, 0.5);
  step(toWidth, toHeight, hat, 1);
  return source;
}

/** Bytes of one image (height, width, channels) as ingest makes them, out of anything that a canvas can draw. */
function pixels(picture, width, height) {
  const { decoder } = facts, canvas = document.createElement("canvas");
  const shape = [width, height];
  if (Math.min(...shape) < decoder.min_side) throw new Error(`too small: ${width} × ${height} pixels, at least ${decoder.min_side}`);
  if (Math.max(...shape) > decoder.max_aspect * Math.min(...shape)) throw new Error(`too long and narrow: ${width} × ${height} pixels`);
  if (width * height > decoder.max_pixels) throw new Error(`too large: ${width} × ${height} pixels`);
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = `rgb(${decoder.background}, ${decoder.background}, ${decoder.background})`;
  pen.fillRect(0, 0, width, height);
  pen.drawImage(picture, 0, 0);
  const data = pen.getImageData(0, 0, width, height).data, count = decoder.channels;
  let plain = new Uint8ClampedArray(width * height * count);
  for (let at = 0; at < width * height; at++) {
    const [r, g, b] = [data[4 * at], data[4 * at + 1], data[4 * at + 2]];
    if (count === 1) plain[at] = (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16; // ITU-R 601-2, as Pillow rounds it
    else plain.set([r, g, b], 3 * at);
  }
  const [W, H] = [decoder.width, decoder.height];
  if (decoder.fit === "stretch") return new Uint8Array(resized(plain, width, height, count, W, H));
  const scale = decoder.fit === "crop" ? Math.min(width / W, height / H) : Math.min(W / width, H / height);
  if (decoder.fit === "crop") {
    const across = Math.max(1, Math.round(W * scale)), down = Math.max(1, Math.round(H * scale));
    const left = Math.floor((width - across) / 2), top = Math.floor((height - down) / 2);
    const part = new Uint8ClampedArray(across * down * count);
    for (let y = 0; y < down; y++) part.set(plain.subarray(((top + y) * width + left) * count, ((top + y) * width + left + across) * count), y * across * count);
    return new Uint8Array(resized(part, across, down, count, W, H));
  }
  const across = Math.max(1, Math.round(width * scale)), down = Math.max(1, Math.round(height * scale));
  const small = resized(plain, width, height, count, across, down), out = new Uint8Array(W * H * count).fill(decoder.background);
  const left = Math.floor((W - across) / 2), top = Math.floor((H - down) / 2);
  for (let y = 0; y < down; y++) out.set(small.subarray(y * across * count, (y + 1) * across * count), ((top + y) * W + left) * count);
  return out;
}

function draw(canvas, bytes, overlay) {
  const { height, width, channels } = facts.decoder;
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    for (let c = 0; c < 3; c++) image.data[4 * at + c] = bytes[at * channels + (channels === 1 ? 0 : c)];
    image.data[4 * at + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
  if (!overlay) return;
  const most = Math.max(...overlay.map(Math.abs), 1e-12);
  for (let row = 0; row < GRID; row++) for (let column = 0; column < GRID; column++) {
    const value = overlay[row * GRID + column] / most;
    pen.fillStyle = value >= 0 ? `rgba(255, 120, 0, ${0.65 * value})` : `rgba(40, 110, 255, ${-0.65 * value})`;
    const x0 = Math.round(column * width / GRID), y0 = Math.round(row * height / GRID);
    pen.fillRect(x0, y0, Math.round((column + 1) * width / GRID) - x0, Math.round((row + 1) * height / GRID) - y0);
  }
}

/** How far the answer falls when each cell of a grid is covered by the mean grey level: occlusion (Zeiler and Fergus 2014). */
async function heat(bytes, column, before) {
  const { height, width, channels } = facts.decoder, size = bytes.length;
  const mean = Math.round(bytes.reduce((sum, value) => sum + value, 0) / size), fall = [];
  for (let row = 0; row < GRID; row++) {
    const batch = new Uint8Array(size * GRID);
    for (let place = 0; place < GRID; place++) {
      batch.set(bytes, place * size);
      for (let y = Math.round(row * height / GRID); y < Math.round((row + 1) * height / GRID); y++)
        batch.fill(mean, place * size + (y * width + Math.round(place * width / GRID)) * channels, place * size + (y * width + Math.round((place + 1) * width / GRID)) * channels);
    }
    const { data, dims } = (await answers(batch, GRID)).prediction;
    for (let place = 0; place < GRID; place++) fall.push(before - data[place * dims[1] + column]);
    $("heatcaption").textContent = `What its answer rests on: ${Math.round(100 * (row + 1) / GRID)} %`;
  }
  $("heatcaption").textContent = "What its answer rests on: orange speaks for it, blue against";
  return fall;
}

async function show(picture, width, height) {
  $("status").textContent = "Working…";
  try {
    await ready;
    const bytes = pixels(picture, width, height), began = performance.now();
    const found = await answers(bytes, 1), took = performance.now() - began;
    const values = found.prediction.data, names = facts.labels.length === values.length ? facts.labels : facts.output.columns;
    const best = values.indexOf(Math.max(...values)), classes = facts.labels.length === values.length;
    $("label").textContent = classes ? `${names[best]}, ${(100 * values[best]).toFixed(1)} %` : values.map((value, at) => `${names[at]} ${value.toPrecision(4)}`).join(", ");
    $("unknown").hidden = !(found.unknown && found.unknown.data[0]);
    $("unknown").textContent = "Unlike what the model was trained on: do not rely on this answer.";
    $("columns").replaceChildren(...values.map((value, at) => {
      const row = document.createElement("tr");
      for (const text of [names[at], value.toFixed(4)]) { const cell = document.createElement("td"); cell.textContent = text; row.append(cell); }
      return row;
    }));
    $("took").textContent = `Answered in ${took.toFixed(0)} ms.`;
    draw($("seen"), bytes);
    draw($("heat"), bytes);
    $("result").hidden = false;
    $("status").textContent = "";
    draw($("heat"), bytes, await heat(bytes, best, values[best]));
    document.body.dataset.done = String(Number(document.body.dataset.done || 0) + 1);
  } catch (error) {
    $("status").textContent = `This picture cannot be answered: ${error.message}`;
  }
}

$("file").addEventListener("change", async () => {
  const file = $("file").files[0];
  if (!file) return;
  try {
    const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "default" });
    await show(bitmap, bitmap.width, bitmap.height);
  } catch (error) {
    $("status").textContent = `${file.name} is no picture that this browser can read.`;
  }
});

$("camera").addEventListener("click", async () => {
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
    await $("video").play();
    $("video").hidden = $("take").hidden = false;
  } catch (error) {
    $("status").textContent = `The camera cannot be used: ${error.message}`;
  }
});

$("take").addEventListener("click", async () => {
  const video = $("video");
  await show(video, video.videoWidth, video.videoHeight);
});
