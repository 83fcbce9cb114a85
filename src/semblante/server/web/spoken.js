// What is read aloud while a camera or a video plays: which faces show something else than what was said
// of them last, once that has lasted, and not before the last words can have been read.

import { $, retell } from "./elements.js";
import { numberOf } from "./painting.js";
import { name, text } from "./words.js";

const LASTS_MS = 2000;
const LEAST_MS = 5000; // from one announcement to the next,
const LETTER_MS = 80; // or for each letter of it, where that takes longer

let seen = new Map(); // by the number of a face what it shows, since when, and what was said of it
let silentUntil = -Infinity;

export function tellChanges(faces) {
  const now = performance.now();
  const shown = faces.map((face, number) => [numberOf(face, number), face.emotion]);
  seen = new Map((shown.length ? shown : [["", null]]).map(([key, emotion]) => {
    const before = seen.get(key);
    const since = before?.emotion === emotion ? before.since : now;
    return [key, { emotion, since, said: before?.said }];
  }));
  if (now < silentUntil) return;
  const news = [...seen].filter(([, one]) => one.emotion !== one.said && now - one.since >= LASTS_MS);
  if (!news.length) return;
  const words = news.map(([key, one]) => {
    one.said = one.emotion;
    if (one.emotion === null) return text("none");
    return seen.size > 1 ? `${key}: ${name(one.emotion)}` : name(one.emotion);
  }).join(", ");
  retell($("aloud"), words);
  silentUntil = now + Math.max(LEAST_MS, LETTER_MS * words.length);
}

export function forgetWhatWasTold() {
  seen = new Map();
  silentUntil = -Infinity;
}
