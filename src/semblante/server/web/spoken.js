// Announcements for screen readers while a camera or a video plays: they name the faces whose emotion differs from the
// one last announced and has lasted a while, and leave time to read the previous announcement.

import { $, retell } from "./elements.js";
import { numberOf } from "./painting.js";
import { name, text } from "./words.js";

const LASTS_MS = 2000; // for which an emotion must last before it is announced
const LEAST_MS = 5000; // from one announcement to the next
const LETTER_MS = 80; // for each letter of an announcement, if that takes longer

let seen = new Map(); // by a face's number: its `emotion`, `since` when, and the emotion last `said`
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
