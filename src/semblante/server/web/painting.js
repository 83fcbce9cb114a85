// What is painted: boxes and names over a picture, evidence over a face, emotions over time.

import { name, percent } from "./words.js";

// Okabe & Ito's palette, told apart with every common colour blindness.
export const COLOURS = {
  angry: "#d55e00", disgust: "#009e73", fear: "#cc79a7", happy: "#f0e442", sad: "#0072b2",
  surprise: "#e69f00", neutral: "#c8c8c8",
};
const FOR = [230, 159, 0], AGAINST = [0, 114, 178]; // of the evidence: two of them
const LABEL_ROWS = 8; // above a face, and below it, in which there may be a place for its label
const LEAST_WIDTH = 256; // pixels, of which a label needs about half
const TRACKS = 4; // of the timeline: those that were seen most
const GAP_S = 1; // after so long without a result it shows none

export const numberOf = (face, number) => String(face.track ?? number + 1);

// A picture so small that a label would cover it is shown, and saved, larger.
export function enlarged(result) {
  const { width, height, faces } = result;
  const factor = Math.max(1, Math.min(LEAST_WIDTH / width, 4 * LEAST_WIDTH / height));
  return { ...result, width: Math.round(factor * width), height: Math.round(factor * height),
    faces: faces.map((face) => ({ ...face, box: face.box.map((side) => factor * side) })) };
}

// Also used for the picture that is saved; `scale` is picture pixels for one of the screen.
export function paintBoxes(pen, result, scale) {
  pen.font = `600 ${Math.round(15 * scale)}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  pen.lineWidth = Math.max(2, 3 * scale);
  for (const face of result.faces) {
    pen.strokeStyle = COLOURS[face.emotion];
    pen.strokeRect(...face.box);
  }
  const tall = 21 * scale;
  const faces = result.faces.map((face) => face.box);
  const labels = []; // where there are some already
  const numbered = []; // the faces that cannot be told by the place of their label
  result.faces.forEach((face, number) => {
    const [left, top, , height] = face.box;
    const what = `${name(face.emotion)} ${percent(face.probabilities[face.emotion])}`;
    // Among several one's own may not be the nearest: the number is that of the bars.
    const label = faces.length > 1 ? `${numberOf(face, number)}: ${what}` : what;
    const wide = pen.measureText(label).width + 10 * scale;
    const x = Math.max(0, Math.min(left, result.width - wide));
    // As near to the face as it covers no other label, nor a face; above rather than below.
    const places = [...Array(LABEL_ROWS).keys()]
      .flatMap((row) => [top - (row + 1) * tall, top + height + row * tall])
      .concat(result.height - tall, 0)
      .filter((y) => wide <= result.width && y >= 0 && y <= result.height - tall);
    const free = (taken) => places.find((y) => !taken.some(([otherX, otherY, w, h]) =>
      x < otherX + w && otherX < x + wide && y < otherY + h && otherY < y + tall));
    const y = free([...labels, ...faces]) ?? free(labels);
    const near = y === top - tall || y === top + height;
    if (y === undefined || (!near && faces.length > 1)) numbered.push([face, numberOf(face, number)]);
    if (y === undefined) return; // the list has the rest
    labels.push([x, y, wide, tall]);
    pen.fillStyle = COLOURS[face.emotion];
    pen.fillRect(x, y, wide, tall);
    pen.fillStyle = face.emotion === "sad" ? "#fff" : "#000"; // what stands out on it
    pen.fillText(label, x + 5 * scale, y + 3 * scale);
  });
  pen.lineWidth = 3 * scale;
  pen.strokeStyle = "#000";
  for (const [face, number] of numbered) { // last, so that no label covers them
    const corner = [face.box[0] + 4 * scale, face.box[1] + 4 * scale];
    pen.strokeText(number, ...corner);
    pen.fillStyle = COLOURS[face.emotion];
    pen.fillText(number, ...corner);
  }
}

// The face as the network sees it, and over it in colour what speaks for the estimate and what against.
export function paintEvidence(canvas, { picture, evidence }) {
  const most = Math.max(1, ...evidence.flat().map(Math.abs)); // 1 bit: what is less is hardly any
  canvas.width = canvas.height = 4 * picture.length;
  const pen = canvas.getContext("2d");
  const paint = (side, colour) => pen.drawImage(mosaic(side, colour), 0, 0, canvas.width, canvas.height);
  paint(picture.length, (y, x) => [...Array(3).fill(picture[y][x]), 255]);
  // It is even within each four pixels; between them it is drawn smoothly.
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

// Of the tracks that were seen most a strip each, at each moment in the colour of the emotion and as
// high as that is probable; `seen` are results, `start` and `end` seconds.
export function paintTimeline(canvas, seen, start, end) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const pen = canvas.getContext("2d");
  // In whole pixels, or lines would show where one moment meets the next.
  const across = (time) => Math.round((time - start) / Math.max(1, end - start) * canvas.width);
  const times = new Map(); // that a track was seen
  for (const { track } of seen.flatMap((row) => row.faces)) times.set(track, (times.get(track) ?? 0) + 1);
  const tracks = [...times.keys()].sort((a, b) => times.get(b) - times.get(a)).slice(0, TRACKS)
    .sort((a, b) => a - b);
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
}
