// A network that pnag_tf has deployed, in the browser: a .tflite in, names and probabilities out.
import {loadAndCompile, loadLiteRt, Tensor} from "@litertjs/core";

const CENTRE = 0.875; // side of the central square that the network sees, as in training

// The names of the classes: a file in a ZIP archive behind the model, stored as it is.
export function labels(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = bytes.length - 22; at >= 0; at--) { // the archive's end stands last
    if (view.getUint32(at, true) !== 0x06054b50) continue;
    const entry = view.getUint32(at + 16, true), local = view.getUint32(entry + 42, true);
    const size = view.getUint32(entry + 24, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    return new TextDecoder().decode(bytes.subarray(start, start + size)).trimEnd().split("\n");
  }
  throw new Error("the file names no classes: expected a .tflite that pnag_tf has deployed");
}

// Opens a network. `wasm` is the folder of LiteRT.js's WebAssembly files.
export async function open(bytes, wasm) {
  const names = labels(bytes);
  await (open.started ??= loadLiteRt(wasm)); // once a page
  const model = await loadAndCompile(bytes, {accelerator: "wasm"});
  const resolution = model.getInputDetails()[0].shape[1];
  return {names, resolution, predict: async (photo, top = 5) => {
    const input = new Tensor(pixels(photo, resolution), [1, resolution, resolution, 3]);
    const [output] = await model.run([input]);
    const probabilities = Array.from(await output.data());
    input.delete();
    output.delete();
    return probabilities.map((probability, place) => ({name: names[place], probability}))
      .sort((a, b) => b.probability - a.probability).slice(0, top);
  }};
}

// The central square of an ImageBitmap, scaled: RGB from 0 to 255, as float32.
export function pixels(photo, resolution) {
  const shorter = Math.min(photo.width, photo.height);
  const side = Math.max(Math.round(CENTRE * shorter), Math.min(shorter, resolution));
  const x = Math.floor((photo.width - side) / 2), y = Math.floor((photo.height - side) / 2);
  const context = new OffscreenCanvas(resolution, resolution).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(photo, x, y, side, side, 0, 0, resolution, resolution);
  const rgba = context.getImageData(0, 0, resolution, resolution).data;
  return Float32Array.from({length: resolution * resolution * 3}, (_, i) => rgba[4 * Math.floor(i / 3) + i % 3]);
}
