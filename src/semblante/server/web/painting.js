// Everything drawn on canvases: a picture, boxes and labels over it, evidence over a face, and the timeline.

import { name, percent } from "./words.js";

// Okabe & Ito's palette, whose colours differ under every common colour blindness.
export const COLOURS = {
  angry: "#d55e00", disgust: "#009e73", fear: "#cc79a7", happy: "#f0e442", sad: "#0072b2",
  surprise: "#e69f00", neutral: "#c8c8c8",
};
const FOR = [230, 159, 0], AGAINST = [0, 114, 178]; // colours of the evidence, two of the palette
const SMALL = 72; // pixels, the height of an album's thumbnail
const LEAST_WIDTH = 256; // pixels, to which narrower pictures are enlarged: a label needs about half of that
const PAINTED_ANYWHERE = 16_000_000; // pixels of a canvas that every browser can paint
const TRACKS = 8; // the most that the timeline shows
const GAP_S = 1; // seconds for which the timeline shows a result if no other follows
// The matrix [a, b, c, d] of `setTransform` that turns a picture upright, by its EXIF orientation.
const TURNS = { 2: [-1, 0, 0, 1], 3: [-1, 0, 0, -1], 4: [1, 0, 0, -1], 5: [0, 1, 1, 0],
  6: [0, 1, -1, 0], 7: [0, -1, -1, 0], 8: [0, -1, 1, 0] };

let largeIsPainted = null; // see `paintsLarge`; null until tried

export const numberOf = (face, number) => String(face.track ?? number + 1);

// The picture in a file, upright. A WebP is turned here: Chromium, at least up to version 156, applies the EXIF
// orientation of JPEG and PNG files, but not of WebP files.
export async function readPicture(file) {
  const data = await file.arrayBuffer();
  const axes = TURNS[takeOrientation(new DataView(data))];
  const bitmap = await createImageBitmap(axes ? new Blob([data]) : file, { imageOrientation: "from-image" });
  if (!axes) return bitmap;
  const [a, b, c, d] = axes;
  const canvas = document.createElement("canvas");
  canvas.width = a ? bitmap.width : bitmap.height;
  canvas.height = a ? bitmap.height : bitmap.width;
  const pen = canvas.getContext("2d");
  pen.setTransform(a, b, c, d, a + c < 0 ? canvas.width : 0, b + d < 0 ? canvas.height : 0);
  pen.drawImage(bitmap, 0, 0);
  return canvas;
}

// Paints the picture in a file as an album's thumbnail; nothing if the browser cannot read it.
export async function paintSmall(canvas, file) {
  const picture = await readPicture(file).catch(() => null);
  const { width, height } = picture ?? { width: 1, height: 1 };
  const scale = Math.min(SMALL / height, 3 * SMALL / width);
  [canvas.width, canvas.height] = [width, height].map((side) => Math.max(1, Math.round(scale * side)));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  if (picture) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture?.close?.();
}

// The EXIF orientation of a WebP, 1 if the file has none or is no WebP. It is set to 1 in `view`, since a browser that
// applies it would turn the picture a second time.
function takeOrientation(view) {
  const [WEBP, CHUNK, PREFIX] = [0x57454250, 0x45584946, 0x45786966]; // "WEBP", "EXIF", "Exif"
  try {
    if (view.getUint32(8) !== WEBP) return 1;
    let chunk = 12;
    while (view.getUint32(chunk) !== CHUNK) {
      const size = view.getUint32(chunk + 4, true);
      chunk += 8 + size + (size % 2);
    }
    const start = view.getUint32(chunk + 8) === PREFIX ? chunk + 14 : chunk + 8;
    const little = view.getUint16(start) === 0x4949; // "II" (Intel): little-endian
    const list = start + view.getUint32(start + 4, little);
    const tags = Array.from({ length: view.getUint16(list, little) }, (_, number) => list + 2 + 12 * number);
    const found = tags.find((tag) => view.getUint16(tag, little) === 0x0112);
    if (!found) return 1;
    const orientation = view.getUint16(found + 8, little);
    view.setUint16(found + 8, 1, little);
    return orientation;
  } catch (error) {
    if (error instanceof RangeError) return 1; // the file ends before an orientation
    throw error;
  }
}

// A copy of a result, scaled for painting: larger if the picture is so small that a label would cover it, smaller if
// it is too large for this browser to paint. The picture is shown and saved at that size.
export function resized(result) {
  const { width, height, faces } = result;
  const tooMany = width * height / PAINTED_ANYWHERE;
  const factor = tooMany > 1 ? (paintsLarge() ? 1 : 1 / Math.sqrt(tooMany))
    : Math.max(1, Math.min(LEAST_WIDTH / width, 4 * LEAST_WIDTH / height));
  return { ...result, width: Math.round(factor * width), height: Math.round(factor * height),
    faces: faces.map((face) => ({ ...face, box: face.box.map((side) => factor * side) })) };
}

// Whether the browser can paint 40 megapixels, the largest picture that the server takes by default. Some iPhones
// paint nothing then.
function paintsLarge() {
  if (largeIsPainted === null) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [8000, 5000];
    const pen = canvas.getContext("2d");
    pen?.fillRect(0, 0, 1, 1);
    largeIsPainted = pen?.getImageData(0, 0, 1, 1).data[3] === 255;
    canvas.width = canvas.height = 0; // frees its memory
  }
  return largeIsPainted;
}

// A copy of a result with its boxes mirrored, for a picture that is shown mirrored.
export const inMirror = (result) => ({ ...result, faces: result.faces.map((face) => {
  const [left, top, wide, tall] = face.box;
  return { ...face, box: [result.width - left - wide, top, wide, tall] };
}) });

// Paints `source`, if any, as large as the result says. Returns the canvas's 2D context.
export function paintPicture(canvas, source, { width, height }) {
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  if (source) pen.drawImage(source, 0, 0, width, height);
  return pen;
}

// For the screen and for the saved picture; `scale`: the picture's pixels per pixel of the screen.
export function paintBoxes(pen, result, scale) {
  pen.font = `600 ${15 * scale}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  const line = 3 * scale;
  for (const face of result.faces) { // with a dark edge: grey and yellow could not be seen on a white wall
    for (const [colour, width] of [["#000", line + 2 * scale], [COLOURS[face.emotion], line]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.strokeRect(...face.box);
    }
  }
  const several = result.faces.length > 1;
  const labels = result.faces.map((face, number) => {
    const what = `${name(face.emotion)} ${percent(face.probabilities[face.emotion])}`;
    // Among several faces, the nearest label may be another face's: the number is the one beside the bars.
    return several ? `${numberOf(face, number)}: ${what}` : what;
  });
  const tall = 21 * scale;
  const sizes = labels.map((label) => [pen.measureText(label).width + 10 * scale, tall]);
  const places = placeLabels(result.faces.map((face) => face.box), sizes, result);
  result.faces.forEach((face, number) => {
    if (!places[number]) return;
    const [x, y] = places[number];
    pen.fillStyle = COLOURS[face.emotion];
    pen.fillRect(x, y, ...sizes[number]);
    pen.fillStyle = face.emotion === "sad" ? "#fff" : "#000"; // the text's colour must stand out
    pen.fillText(labels[number], x + 5 * scale, y + 3 * scale);
  });
  pen.lineWidth = 3 * scale;
  pen.strokeStyle = "#000";
  result.faces.forEach((face, number) => { // at the end, so that no label covers them
    if (places[number]) return; // for the others a number: the list beside the picture says the rest
    const corner = [face.box[0] + 4 * scale, face.box[1] + 4 * scale];
    pen.strokeText(numberOf(face, number), ...corner);
    pen.fillStyle = COLOURS[face.emotion];
    pen.fillText(numberOf(face, number), ...corner);
  });
}

// Where in a picture of this width and height each face's label goes: [x, y], or null if there is no room. `boxes`: the
// faces', [left, top, width, height]; `sizes`: the labels', [width, height].
export function placeLabels(boxes, sizes, { width, height }) {
  const alone = boxes.length === 1;
  const taken = [...boxes];
  return boxes.map(([left, top, , high], number) => {
    const [wide, tall] = sizes[number];
    const x = Math.max(0, Math.min(left, width - wide));
    // Right above or below the face, where it covers neither a label nor a face: elsewhere it would be taken for
    // another face's. A single face may fill the picture, so its label may also be inside its box.
    const places = [top - tall, top + high, ...(alone ? [height - tall, 0] : [])]
      .filter((y) => wide <= width && y >= 0 && y <= height - tall);
    const isFree = (y) => !taken.some(([otherX, otherY, w, h]) =>
      x < otherX + w && otherX < x + wide && y < otherY + h && otherY < y + tall);
    const y = places.find(isFree) ?? (alone ? places[0] : undefined);
    if (y === undefined) return null;
    taken.push([x, y, wide, tall]);
    return [x, y];
  });
}

// Paints the face as the network sees it, and over it, in colour, the evidence for and against the estimate.
export function paintEvidence(canvas, { picture, evidence }) {
  const most = Math.max(1, ...evidence.flat().map(Math.abs)); // at least 1 bit, so that weak evidence looks weak
  canvas.width = canvas.height = 4 * picture.length;
  const pen = canvas.getContext("2d");
  const paint = (side, colour) => pen.drawImage(mosaic(side, colour), 0, 0, canvas.width, canvas.height);
  paint(picture.length, (y, x) => [...Array(3).fill(picture[y][x]), 255]);
  // Evidence is constant within squares of 4x4 pixels; scaling up one value of each makes it look smooth.
  paint(Math.floor(picture.length / 4), (y, x) => {
    const bits = evidence[4 * y + 1][4 * x + 1];
    return [...(bits > 0 ? FOR : AGAINST), 204 * Math.min(1, Math.abs(bits) / most)];
  });
}

function mosaic(side, colour) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const pixels = new ImageData(side, side);
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) pixels.data.set(colour(y, x), 4 * (y * side + x));
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

// Paints a strip for each of the tracks seen most: at each moment in the emotion's colour, and as high as its
// probability; `seen`: results; `start` and `end`: seconds.
export function paintTimeline(canvas, seen, start, end) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const pen = canvas.getContext("2d");
  // Whole pixels, otherwise lines would show between one moment and the next.
  const across = (time) => Math.round((time - start) / Math.max(1, end - start) * canvas.width);
  const tracks = longestSeen(seen);
  const tall = canvas.height / Math.max(1, tracks.length);
  seen.forEach((row, number) => {
    const left = across(row.time_s);
    const next = seen[number + 1]?.time_s ?? end;
    const right = across(Math.min(next, row.time_s + GAP_S));
    for (const face of row.faces) {
      const place = tracks.indexOf(face.track);
      if (place < 0) continue;
      const high = (tall - 4 * scale) * face.probabilities[face.emotion];
      pen.fillStyle = COLOURS[face.emotion];
      pen.fillRect(left, (place + 1) * tall - high, Math.max(1, right - left), high);
    }
  });
  if (tracks.length < 2) return;
  pen.font = `600 ${12 * scale}px system-ui, sans-serif`;
  pen.textBaseline = "bottom";
  pen.lineWidth = 3 * scale;
  pen.strokeStyle = "#000";
  pen.fillStyle = "#fff";
  tracks.forEach((track, place) => { // labels each strip with its track's number
    pen.strokeText(track, 4 * scale, (place + 1) * tall);
    pen.fillText(track, 4 * scale, (place + 1) * tall);
  });
}

// The numbers of the tracks seen most, at most `TRACKS`, in ascending order.
export function longestSeen(rows) {
  const times = new Map(); // how often each track was seen
  for (const { track } of rows.flatMap((row) => row.faces)) times.set(track, (times.get(track) ?? 0) + 1);
  return [...times.keys()].sort((a, b) => times.get(b) - times.get(a)).slice(0, TRACKS).sort((a, b) => a - b);
}
