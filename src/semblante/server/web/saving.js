// Saves all results, as JSON lines or as CSV, or the picture with its boxes.

import { $ } from "./elements.js";
import { resized, paintBoxes, paintPicture } from "./painting.js";
import { state } from "./state.js";
import { EMOTIONS } from "./words.js";

const FETCHED_MS = 60000; // an iPhone reads the data only once the user has agreed

export function saveJson() {
  save(new Blob([state.rows.map((row) => JSON.stringify(row) + "\n").join("")]), "semblante.jsonl");
}

export function saveCsv() {
  save(new Blob([asCsv(state.rows)], { type: "text/csv" }), "semblante.csv");
}

export function savePicture() {
  const shown = $("video").classList.contains("hidden") ? $("picture") : $("video");
  const source = state.live?.answered ?? shown; // the camera has moved on since the frame that was answered
  const canvas = document.createElement("canvas");
  const large = resized(state.shown);
  const pen = paintPicture(canvas, source, large);
  paintBoxes(pen, large, Math.max(1, large.width / 800));
  canvas.toBlob((blob) => { if (blob) save(blob, "semblante.png"); }, "image/png");
}

function save(blob, fileName) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), FETCHED_MS);
}

function asCsv(rows) {
  const columns = ["path", "frame", "time_s", "width", "height", "face", "track", "left", "top",
    "face_width", "face_height", "detection_score", "emotion", "probability", ...EMOTIONS, "error"];
  const cell = (value) => {
    // A file name that a spreadsheet would take for a formula is written with `./` before it.
    const risky = typeof value === "string" && /^[=+@\t\r-]/.test(value);
    const text = risky ? `./${value}` : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = rows.flatMap((row) => {
    const about = [row.path, row.frame, row.time_s, row.width, row.height];
    if (!row.faces.length) return [[...about, ...Array(16).fill(null), row.error]];
    return row.faces.map((face, number) => [...about, number + 1, face.track, ...face.box,
      face.detection_score, face.emotion, face.probabilities[face.emotion],
      ...EMOTIONS.map((e) => face.probabilities[e]), row.error]);
  });
  return [columns, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
}
