// Analyses and shows pictures: a single one, or several as an album in which each can be shown again.

import { call, checkSendable, describeFailure, insist, isAway, isOfOnePicture, refusedFor } from "./api.js";
import { $, enable, retell, reveal } from "./elements.js";
import { complain, say, tellCount, withdraw } from "./messages.js";
import { paintSmall, readPicture } from "./painting.js";
import { keepResult, showNothing } from "./results.js";
import { emptyStage, showNoPicture, showPicture } from "./stage.js";
import { state } from "./state.js";
import { name, text } from "./words.js";

const NOT_READ = { frame: null, time_s: null, width: null, height: null, faces: [] }; // in a result

// -- a single picture ---------------------------------------------------------------------------

export async function analyzePicture(file, signal) {
  const result = await insist(signal, () => analyze(file, signal), mayReturn);
  if (signal.aborted) return;
  keepResult(result);
  await showStill(asStill(file, result, signal));
}

// Whether to repeat a request. Not if the server took too long (504): it would probably do so again.
const mayReturn = (error) => isAway(error) && error.status !== 504;

async function analyze(file, signal) {
  await checkSendable(file, "max-body");
  const form = new FormData();
  form.append("file", file, file.name || "picture");
  const { results } = await call("v1/analyze", { method: "POST", body: form, signal });
  const [result] = results;
  if (result.error) throw refusedFor(422, result.error);
  result.path = file.name || result.path; // in a form, %22 stands for a quotation mark in a name
  return result;
}

// A picture with its result; `explained`: the evidence for its faces, by number; `pending`: the faces whose evidence
// is being fetched; `wrong`: a function that says why the picture was not analysed, if it was not.
const asStill = (file, result, signal) => (
  { file, result, signal, explained: new Map(), pending: new Set(), wrong: null });

async function showStill(still) {
  state.requestedStill = still;
  // null for a format that this browser cannot read, HEIC for example
  const bitmap = await readPicture(still.file).catch(() => null);
  if (state.requestedStill === still) {
    state.shownStill = still;
    const { result } = still;
    // If its size differs from the server's, the browser turned it another way, and the boxes would not fit.
    if (bitmap?.width === result.width && bitmap.height === result.height) showPicture(result, bitmap);
    else showNoPicture(result);
  }
  bitmap?.close?.(); // otherwise memory grows each time a picture is shown
}

// -- an album -----------------------------------------------------------------------------------

// Analyses pictures one after another. One that cannot be read does not stop the others. If the user cancels, the
// results so far stay.
export async function analyzeAlbum(files, signal) {
  const album = state.album = { pictures: [], stop: new AbortController() };
  const stopped = album.stop.signal; // aborted if the user cancels, and when the run ends
  reveal("album", true);
  $("progress").setAttribute("aria-labelledby", "frames");
  for (const [number, file] of files.entries()) {
    $("progress").value = number / files.length;
    tellCount(() => `${text("pictures")}: ${number} / ${files.length}`);
    let result, wrong = null;
    try {
      result = await insist(signal, () => analyze(file, stopped), mayReturn);
    } catch (error) {
      if (stopped.aborted) return;
      if (!isOfOnePicture(error)) throw error;
      result = { path: file.name, ...NOT_READ, error: error.message };
      wrong = () => describeFailure(error);
    }
    if (stopped.aborted) return;
    keepResult(result);
    const picture = Object.assign(asStill(file, result, signal), { wrong });
    album.pictures.push(picture);
    state.stop = album.stop;
    addToAlbum(picture);
    if (number === 0) await choosePicture(picture);
  }
  retell($("aloud"), text("through")(files.length));
}

export function closeAlbum() {
  state.album?.stop.abort();
  state.album = null;
  reveal("album", false);
  $("album").replaceChildren();
}

function addToAlbum(picture) {
  picture.button = document.createElement("button");
  picture.button.type = "button";
  picture.button.onclick = () => choosePicture(picture);
  picture.button.append(...["canvas", "span", "span"].map((kind) => document.createElement(kind)));
  nameInAlbum(picture);
  const entry = document.createElement("li");
  entry.append(picture.button);
  $("album").append(entry);
  paintSmall(picture.button.firstChild, picture.file);
}

export function nameInAlbum({ button, file, result, wrong }) {
  const [, title, said] = button.children;
  const count = result.faces.length;
  title.textContent = button.title = file.name;
  said.textContent = wrong ? text("unreadable") : !count ? text("none")
    : count === 1 ? name(result.faces[0].emotion) : `${count} ${text("people")}`;
}

async function choosePicture(picture) {
  withdraw("shown");
  withdraw("evidence");
  retell($("aloud"), "");
  if (picture.wrong) {
    state.shownStill = state.requestedStill = picture;
    emptyStage();
    showNothing(null);
    say(picture.file.name);
    enable("save-picture", false);
    complain(picture.wrong);
  } else {
    await showStill(picture);
  }
  if (state.requestedStill !== picture) return;
  for (const { button } of state.album.pictures) {
    button.ariaCurrent = button === picture.button ? "true" : null;
  }
}
