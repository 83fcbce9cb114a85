// The results: shows one on the page, with its boxes, faces and summary, and keeps all of them for the timeline and
// for saving.

import { $, enable, retell } from "./elements.js";
import { showBars } from "./faces.js";
import { complain, say } from "./messages.js";
import { inMirror, longestSeen, numberOf, paintBoxes, paintTimeline, resized } from "./painting.js";
import { forgetWhatWasTold, tellChanges } from "./spoken.js";
import { state } from "./state.js";
import { EMOTIONS, name, percent, percentage, spoken, text } from "./words.js";

// Below this probability the most probable emotion is shown as unsure: another one may be almost as probable.
const SURE = 0.5;
const KEPT_ROWS = 20000; // the most results of the camera that are kept for saving
const KEPT_S = 60; // seconds of the camera that the timeline shows

let span = { start: 0, seconds: 1 }; // that the timeline shows
let moment = null; // seconds: where the video is; null if there is none
let lastSpokenAt = -Infinity; // when the summary was last set
let lastSpoken = ""; // the language and emotions of that summary

// -- the result on the page ---------------------------------------------------------------------

export function showResult(result) {
  state.shown = result;
  drawBoxes(result);
  showBars(result.faces);
  const said = result.faces.map((face, number) => {
    const p = face.probabilities[face.emotion];
    // The number that identifies the face in the picture and in the list.
    const which = result.faces.length > 1 ? `${numberOf(face, number)}: ` : "";
    return `${which}${name(face.emotion)} ${percent(p)}${p < SURE ? ` (${text("unsure")})` : ""}`;
  });
  const start = said.length === 1 ? text("one") : `${said.length} ${text("many")}`;
  const where = state.album ? `${result.path}: ` : ""; // the file's name
  const summary = where + (said.length ? start + said.join(", ") : text("none"));
  const plays = !$("video").paused;
  $("summary").ariaLive = plays ? "off" : "polite";
  if (plays) tellChanges(result.faces);
  if (isNews(result)) say(summary);
  tellNobody(result.faces.length ? null : "none");
}

// `key`: of the text in place of faces; null if the page already says what is wrong.
export function showNothing(key = "nobody") {
  state.shown = null;
  showBars([]);
  tellNobody(key);
  $("boxes").width = $("boxes").height = 0;
}

function tellNobody(key) {
  $("nobody").classList.toggle("hidden", key === null);
  if (key === null) return;
  $("nobody").dataset.text = key; // in which language it is said may change
  retell($("nobody"), text(key));
}

// Whether to change the summary. While a camera or a video plays, not at every frame: nobody could read it.
function isNews(result) {
  const now = performance.now();
  const toBeSpoken = spoken() + result.faces.map((face) => face.emotion).join();
  const silence = toBeSpoken === lastSpoken ? 3000 : 1000;
  if (!$("video").paused && now - lastSpokenAt < silence) return false;
  lastSpokenAt = now;
  lastSpoken = toBeSpoken;
  return true;
}

// Makes the next result news, whatever was said before, and however recently.
export function speakAtOnce() {
  lastSpokenAt = -Infinity;
  forgetWhatWasTold();
}

export function drawBoxes(result) {
  const large = resized(state.live?.mirrored ? inMirror(result) : result);
  const canvas = $("boxes");
  // CSS pixels per pixel of the picture; the smaller ratio, since in full screen there may be room beside or above.
  const shown = Math.min(canvas.clientWidth / large.width, canvas.clientHeight / large.height) || 1;
  const fine = shown * (window.devicePixelRatio || 1);
  canvas.width = Math.round(large.width * fine);
  canvas.height = Math.round(large.height * fine);
  const pen = canvas.getContext("2d");
  pen.scale(fine, fine);
  paintBoxes(pen, large, 1 / shown);
}

// -- all results --------------------------------------------------------------------------------

export function keepResult(result) {
  const { rows, live } = state;
  rows.push(result);
  if (live && rows.length > KEPT_ROWS) {
    rows.shift();
    if (!live.forgets) complain(() => text("forgets")(KEPT_ROWS), "run");
    live.forgets = true;
  }
  offerSaving(true);
}

export function offerSaving(yes) {
  for (const id of ["save-json", "save-csv"]) enable(id, yes);
  if (!yes || state.live) enable("save-picture", yes); // showing a picture or a video enables it
  // Pictures have no times: that section then holds only the buttons for saving.
  const title = $("time-title");
  title.dataset.text = yes && state.rows.at(-1).time_s === null ? "save" : "time";
  retell(title, text(title.dataset.text));
}

export function drawTimeline() {
  const canvas = $("timeline");
  const timed = state.rows.filter((row) => row.time_s !== null);
  for (const id of ["timeline", "span"]) $(id).classList.toggle("hidden", !timed.length);
  listTracks(state.live || state.growing ? [] : timed); // not while they still change: nobody could read them
  if (!timed.length || state.live || state.growing) showMoment(null);
  if (!timed.length) return;
  const end = timed.at(-1).time_s;
  const start = state.live ? Math.max(0, end - KEPT_S) : timed[0].time_s;
  paintTimeline(canvas, timed.filter((row) => row.time_s >= start), start, end);
  span = { start, seconds: Math.max(1, end - start) };
  showMoment(moment);
  canvas.setAttribute("aria-label", `${text("time")}: ${start.toFixed(0)} - ${end.toFixed(0)} s`);
  [start, end].forEach((time, side) => retell($("span").children[side], `${time.toFixed(0)} s`));
}

// Shows the video's current time, in seconds, as a line over the timeline; null: no line.
export function showMoment(time) {
  moment = time;
  const share = time === null ? -1 : (time - span.start) / span.seconds;
  $("moment").classList.toggle("hidden", share < 0 || share > 1);
  $("moment").style.left = `${100 * share}%`;
}

// The time, in seconds, at a place on the timeline: `share` is its distance from the left, 0..1.
export const momentAt = (share) => span.start + share * span.seconds;

// The timeline in words: in what share of its frames each face shows each emotion.
function listTracks(timed) {
  const tracks = longestSeen(timed);
  const list = $("tracks");
  $("shares").classList.toggle("hidden", !tracks.length);
  while (list.children.length > tracks.length) list.lastChild.remove();
  tracks.forEach((track, place) => {
    const shown = timed.flatMap((row) => row.faces.filter((face) => face.track === track));
    const shares = EMOTIONS.map((emotion) => [emotion, shown.filter((face) => face.emotion === emotion).length])
      .map(([emotion, count]) => [emotion, count / shown.length])
      .filter(([, share]) => share >= 0.005).sort((one, other) => other[1] - one[1])
      .map(([emotion, share]) => `${name(emotion)} ${percentage(share)}`);
    const entry = list.children[place] ?? list.appendChild(document.createElement("li"));
    retell(entry, `${text("face")} ${track}: ${shares.join(", ")}`);
  });
}
