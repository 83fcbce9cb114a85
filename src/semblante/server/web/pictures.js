// Pictures: one by itself, or several, as an album in which each can be looked at again.

import { call, checkReadable, describeFailure, insist, isAway, isOfOnePicture, refusedFor } from "./api.js";
import { $, retell, reveal } from "./elements.js";
import { complain, say, tellCount, withdraw } from "./messages.js";
import { paintSmall, readPicture } from "./painting.js";
import { keepResult, showNothing } from "./results.js";
import { emptyStage, showNoPicture, showPicture } from "./stage.js";
import { state } from "./state.js";
import { name, text } from "./words.js";

const NOT_READ = { frame: null, time_s: null, width: null, height: null, faces: [] }; // a result

// -- one ----------------------------------------------------------------------------------------

export async function analyzePicture(file, signal) {
  const result = await insist(signal, () => analyze(file, signal), mayReturn);
  if (signal.aborted) return;
  keepResult(result);
  await showStill(asStill(file, result, signal));
}

// Is it worth asking again? Not where the server took too long: the next time it may as well.
const mayReturn = (error) => isAway(error) && error.status !== 504;

async function analyze(file, signal) {
  await checkReadable(file);
  const form = new FormData();
  form.append("file", file, file.name || "picture");
  const { results } = await call("v1/analyze", { method: "POST", body: form, signal });
  if (!results) throw refusedFor(200, text("elsewhere")); // a proxy's page, say
  const [result] = results;
  if (result.error) throw refusedFor(422, result.error);
  result.path = file.name || result.path; // a form has %22 for a quotation mark
  return result;
}

// With what is found out about its faces, by their number, and those that are being asked about.
const asStill = (file, result, signal) => (
  { file, result, signal, explained: new Map(), pending: new Set(), wrong: null });

async function showStill(still) {
  state.requestedStill = still;
  // HEIC, say, which not every browser knows.
  const bitmap = await readPicture(still.file).catch(() => null);
  if (state.requestedStill === still) {
    state.shownStill = still;
    const { result } = still;
    // Of another size it is not turned as the server's, and its faces are elsewhere.
    if (bitmap?.width === result.width && bitmap.height === result.height) showPicture(result, bitmap);
    else showNoPicture(result);
  }
  bitmap?.close?.(); // or memory grows with every look
}

// -- several ------------------------------------------------------------------------------------

// One after the other. A picture that cannot be read does not keep the others from it, and what was
// done until it is cancelled stays.
export async function analyzeAlbum(files, signal) {
  const album = state.album = { pictures: [], stop: new AbortController() };
  const stopped = album.stop.signal; // when it is cancelled, and also when the run ends
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
    $("save-picture").disabled = true;
    complain(picture.wrong);
  } else {
    await showStill(picture);
  }
  if (state.requestedStill !== picture) return;
  for (const { button } of state.album.pictures) {
    button.ariaCurrent = button === picture.button ? "true" : null;
  }
}
