// The page: camera, picture or video -> the server on this machine -> boxes, bars, a timeline.

import {
  COLOURS, enlarged, numberOf, paintBoxes, paintEvidence, paintSmall,
  paintTimeline, readPicture,
} from "./painting.js";
import { EMOTIONS, name, percent, reason, speakIn, spoken, text } from "./words.js";

const KEPT_ROWS = 20000; // results of the camera that can be saved
// Below this the first word is hardly better than the second: the page says so.
const SURE = 0.5;
const FRAME_WIDTH = 640; // pixels sent of a camera's frame
const ITS_OWN = [400, 413, 422]; // statuses that say something of the file
const OF_ONE = [...ITS_OWN, 408, 500, 504]; // of one picture of several: the others may do better
const NOT_READ = { width: null, height: null, faces: [], frame: null, time_s: null }; // a result
const RETRY_MS = 1000; // before the server is asked again
const SILENT_MS = 5000; // after so long without an answer the page says so
const LISTED = 6; // faces with bars; the summary has the first word of all
const KEPT_S = 60; // seconds the timeline shows

const $ = (id) => document.getElementById(id);
const given = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
const token = /^[\w.~-]+$/.test(given) ? given : null; // no other stands in a header everywhere
const headers = token ? { authorization: `Bearer ${token}` } : {};
let rows = []; // results, as the API gives them
let shown = null; // the result on the page
let still = null; // the picture on the page: its file, its result, and what was asked of its faces
let wanted = null; // the one that is to be shown, as soon as it has been read
let album = null; // several pictures, those that have been analysed so far
let live = null; // the camera at work
let run = new AbortController(); // of what the page works on: what belongs to an earlier one gives up
let told = -Infinity; // when the summary was last said
let gist = ""; // and what of it matters
let waiting = null; // for the next frame of a video that plays
let begins = 0; // the time of a video's first frame, by the browser's clock
let job = null; // the video that the server works on
let doing = null; // the key of the words for what is under way
// What is wrong, in the language of the moment: with what was left out, with the run as a whole, with
// what is shown, with what was asked of it, and with the server for now.
let complaints = {};
// Those of a video, for files whose kind the browser does not know, or takes for something else: .ts
// for a translator's text, .mxf and .asf for programs' data.
const VIDEO = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|wmv|flv|3gp|m?ts|m2ts|m2v|ogv|asf|vob|f4v|mxf)$/i;

const nothing = () => "";
const retrying = () => text("retry");
const busy = () => text("busy");
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// -- words ------------------------------------------------------------------------------------

function speak() {
  document.documentElement.lang = spoken();
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
  if (live) $("camera").textContent = text("stop");
  $("legend").replaceChildren(...EMOTIONS.map((emotion) => {
    const item = document.createElement("li");
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    mark.setAttribute("viewBox", "0 0 10 10");
    mark.setAttribute("aria-hidden", "true");
    const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of Object.entries(
      { width: 10, height: 10, fill: COLOURS[emotion], stroke: "currentColor" })) {
      square.setAttribute(key, value);
    }
    mark.append(square);
    item.append(mark, name(emotion));
    return item;
  }));
  album?.pictures.forEach(nameInAlbum);
  retell($("aloud"), ""); // of what was done before, in the language of before
  told = -Infinity; // in another language it is news, also while a video plays
  if (shown) show(shown);
  if (doing) tell(doing);
  tellComplaints();
}

// -- showing a result ---------------------------------------------------------------------------

function show(result) {
  shown = result;
  drawBoxes(result);
  showBars(result.faces);
  const said = result.faces.map((face, number) => {
    const p = face.probabilities[face.emotion];
    // By which the faces are told apart in the picture and beside it.
    const which = result.faces.length > 1 ? `${numberOf(face, number)}: ` : "";
    return `${which}${name(face.emotion)} ${percent(p)}${p < SURE ? ` (${text("unsure")})` : ""}`;
  });
  const start = said.length === 1 ? text("one") : `${said.length} ${text("many")}`;
  const summary = said.length ? start + said.join(", ") : text("none");
  if (isNews(result)) say(summary);
  $("nobody").classList.toggle("hidden", result.faces.length > 0);
}

// Is it to be read aloud? While a camera or a video plays not every frame, or there would be no end to it.
function isNews(result) {
  const now = performance.now();
  const newGist = spoken() + result.faces.map((face) => face.emotion).join();
  if (!$("video").paused && now - told < (newGist === gist ? 3000 : 1000)) return false;
  told = now;
  gist = newGist;
  return true;
}

const say = (words) => retell($("summary"), words);

// A screen reader may read the same words again where they are only set again.
function retell(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function drawBoxes(result) {
  const large = enlarged(result);
  const canvas = $("boxes");
  canvas.width = large.width;
  canvas.height = large.height;
  const pen = canvas.getContext("2d");
  // In full screen there is room beside the picture, or above.
  const scale = Math.max(large.width / canvas.clientWidth, large.height / canvas.clientHeight);
  paintBoxes(pen, large, Number.isFinite(scale) ? scale : 1);
}

// What is there already is only told anew: many times a second a screen reader, or a selection, would
// lose its place in what is taken away.
function showBars(faces) {
  const bars = $("bars");
  while (bars.children.length > Math.min(faces.length, LISTED)) bars.lastChild.remove();
  faces.slice(0, LISTED).forEach((face, number) => {
    const block = bars.children[number] ?? bars.appendChild(newBlock(number));
    const [title, why, ...bar] = [block.firstChild, block.lastChild, ...block.querySelectorAll(".bar")];
    retell(title, `${text("face")} ${numberOf(face, number)}`);
    EMOTIONS.forEach((emotion, place) => {
      const p = face.probabilities[emotion];
      const [label, meter, value] = bar[place].children;
      bar[place].classList.toggle("first", emotion === face.emotion);
      retell(label, name(emotion));
      meter.setAttribute("aria-label", name(emotion));
      meter.value = p;
      retell(value, percent(p));
    });
    showWhy(why, number);
  });
  retell($("rest"), faces.length > LISTED ? text("more")(faces.length - LISTED) : "");
}

// Of one face: a title, a bar for each emotion, and what speaks for the likeliest.
function newBlock(number) {
  const block = document.createElement("div");
  block.className = "face";
  const title = Object.assign(document.createElement("h3"), { id: `face-${number}` });
  block.append(title, ...EMOTIONS.map(() => {
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.append(...["span", "meter", "span"].map((kind) => document.createElement(kind)));
    return bar;
  }), newWhy(number));
  return block;
}

function newWhy(number) {
  const why = document.createElement("div");
  why.className = "why";
  why.append(...["button", "canvas", "ul"].map((kind) => document.createElement(kind)));
  why.firstChild.type = "button";
  why.firstChild.id = `why-${number}`;
  why.firstChild.setAttribute("aria-labelledby", `why-${number} face-${number}`); // all say the same
  why.firstChild.onclick = () => ask(number);
  why.children[1].role = "img";
  return why;
}

function showWhy(why, number) {
  const [button, canvas, list] = why.children;
  const found = still?.explained.get(number);
  why.classList.toggle("hidden", !still); // a camera and a video go on too fast
  why.classList.toggle("open", Boolean(found));
  button.ariaDisabled = still?.pending.has(number) ? "true" : null; // `disabled` takes the focus away
  retell(button, text(found ? "hide" : "why"));
  button.ariaExpanded = String(Boolean(found));
  if (!found) return;
  paintEvidence(canvas, found);
  canvas.ariaLabel = text("evidence")(name(found.explained));
  list.replaceChildren(...[canvas.ariaLabel, ...Object.entries(found.without).map(([part, left]) => {
    const [emotion, p] = Object.entries(left).reduce((best, one) => (one[1] > best[1] ? one : best));
    return `${text("without")[part]}: ${name(emotion)} ${percent(p)}`;
  })].map((words) => Object.assign(document.createElement("li"), { textContent: words })));
}

// What speaks for the estimate of a face, or, where that is shown, no more of it.
async function ask(number) {
  const asked = still;
  if (asked.pending.has(number)) return;
  const aloud = (key) => retell($("aloud"), key ? `${$(`face-${number}`).textContent}: ${text(key)}` : "");
  if (asked.explained.delete(number)) {
    aloud(null);
    showBars(shown.faces);
    return;
  }
  asked.pending.add(number);
  aloud("explaining");
  showBars(shown.faces);
  try {
    const found = await call(`v1/explain?face=${number + 1}`,
      { method: "POST", body: asked.file, signal: asked.signal });
    asked.explained.set(number, found); // it may be shown again
    if (still !== asked || wanted !== asked) return;
    complain(nothing, "why");
    aloud("explained");
  } catch (error) {
    const refusal = error.why ? () => text("refusal") + error.why() : () => text("lost");
    if (still !== asked) return;
    complain(refusal, "why");
    aloud(null);
  } finally {
    asked.pending.delete(number);
    if (still === asked) showBars(shown.faces);
  }
}

function drawTimeline() {
  const canvas = $("timeline");
  const timed = rows.filter((row) => row.time_s !== null);
  canvas.classList.toggle("hidden", !timed.length);
  canvas.ariaHidden = timed.length ? null : "true";
  canvas.setAttribute("aria-label", "");
  if (!timed.length) return;
  const end = timed.at(-1).time_s;
  const start = live ? Math.max(0, end - KEPT_S) : timed[0].time_s;
  paintTimeline(canvas, timed.filter((row) => row.time_s >= start), start, end);
  canvas.setAttribute("aria-label", `${text("time")}: ${start.toFixed(0)} - ${end.toFixed(0)} s`);
}

function keep(result) {
  rows.push(result);
  if (live && rows.length > KEPT_ROWS) {
    rows.shift();
    if (!live.forgets) complain(() => text("forgets")(KEPT_ROWS), "run");
    live.forgets = true;
  }
  offerSaving(true);
}

function offerSaving(yes) {
  for (const id of ["save-json", "save-csv"]) $(id).disabled = !yes;
  if (!yes || !album) $("save-picture").disabled = !yes; // of several it depends on which is shown
}

// Turn to something else: nothing of what was there before stays. Returns what stands for this run.
function begin() {
  run.abort();
  run = new AbortController();
  rows = [];
  album?.stop.abort();
  still = wanted = album = null;
  reveal("album", false);
  $("album").replaceChildren();
  told = -Infinity;
  gist = "";
  complaints = {};
  tellComplaints();
  tell(null);
  retell($("aloud"), "");
  showNothing();
  showUnderWay(false);
  offerSaving(false);
  const video = $("video");
  if (waiting !== null) video.cancelVideoFrameCallback(waiting);
  waiting = video.ontimeupdate = video.onpause = video.onerror = video.onloadedmetadata = null;
  if (video.src) URL.revokeObjectURL(video.src);
  video.pause();
  video.removeAttribute("src");
  video.srcObject = null;
  video.controls = false; // or the keyboard would still reach them
  empty();
  drawTimeline();
  return run;
}

function empty() {
  for (const id of ["video", "picture"]) $(id).classList.add("hidden");
  $("stage").classList.remove("filled");
  reveal("large", false);
}

function showNothing() {
  shown = null;
  showBars([]);
  $("nobody").classList.remove("hidden");
  $("boxes").width = $("boxes").height = 0;
}

function showUnderWay(yes) {
  reveal("under-way", yes);
  $("progress").removeAttribute("value"); // nobody knows how long it takes to send
  $("progress").setAttribute("aria-labelledby", "summary");
  $("frames").textContent = "";
}

function reveal(id, yes) {
  // The keyboard must not stay on a button that goes.
  if (!yes && $(id).contains(document.activeElement)) $("choose").focus();
  $(id).classList.toggle("hidden", !yes);
}

function tell(key) {
  doing = key;
  say(key ? text(key) : "");
}

function complain(message, about = "shown") {
  complaints[about] = message;
  tellComplaints();
}

function tellComplaints() {
  const said = ["left", "run", "shown", "why", "server"].map((about) => complaints[about]?.()).filter(Boolean);
  retell($("error"), said.join(" "));
}

// -- camera -------------------------------------------------------------------------------------

async function startCamera() {
  const mine = begin();
  const video = $("video");
  let media;
  const focused = document.activeElement === $("camera"); // which a disabled button loses
  $("camera").disabled = true; // a second click would ask for a second stream
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "Insecure");
    media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } });
    if (run === mine) {
      video.srcObject = media;
      await video.play();
    }
  } catch (error) {
    const why = () => text("refused")[error.name] ?? text("refused").other ?? error.message;
    if (run === mine) complain(() => text("denied") + why());
  } finally {
    $("camera").disabled = false;
    if (focused && document.activeElement === document.body) $("camera").focus();
  }
  if (run !== mine || !media || video.srcObject !== media || video.paused) {
    media?.getTracks().forEach((track) => track.stop());
    return;
  }
  display(video);
  live = { media, signal: mine.signal, socket: null, sent: new Map(), next: 0, delays: [], answered: [] };
  $("camera").textContent = text("stop");
  const ours = live;
  // Unplugged, or taken back by the person.
  media.getVideoTracks()[0].onended = () => {
    if (live === ours) { stopCamera(); complain(() => text("gone")); }
  };
  connect(ours);
}

// Where the server goes away the camera stays on, and the page asks again until it is back.
function connect(ours) {
  if (live !== ours) return;
  const address = new URL("v1/stream", document.baseURI);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address, token ? ["semblante", token] : ["semblante"]);
  ours.socket = socket;
  expectAnswer(ours);
  ours.sent.clear();
  ours.next = 0;
  // Each connection counts frames, faces and seconds from its own start.
  ours.started ??= performance.now();
  ours.before = {
    frame: rows.length ? rows.at(-1).frame + 1 : 0,
    track: rows.reduce((most, row) => Math.max(most, ...row.faces.map((f) => f.track)), 0),
    time_s: rows.length ? (performance.now() - ours.started) / 1000 : 0,
  };
  let opened = false;
  socket.onopen = () => { opened = true; complain(nothing, "server"); sendFrame(ours); };
  socket.onmessage = (event) => answered(ours, JSON.parse(event.data));
  socket.onclose = async (event) => {
    const full = () => text("full");
    const why = event.code === 1013 ? full : opened ? null : await refusal(ours.signal);
    if (live !== ours) return;
    if (event.code === 1001 && document.hidden) { // nobody looked, so nothing was sent
      document.addEventListener("visibilitychange", () => connect(ours), { once: true });
      return;
    }
    if (why) {
      stopCamera();
      complain(why);
    } else {
      unanswered(ours);
      setTimeout(() => connect(ours), RETRY_MS);
    }
  };
}

// A server may also hang, and the connection stay; or work on what others have sent.
function expectAnswer(ours) {
  clearTimeout(ours.watchdog);
  const watchdog = ours.watchdog = setTimeout(async () => {
    const works = await fetch("healthz", { signal: AbortSignal.timeout(RETRY_MS) })
      .then((answer) => answer.ok, () => false);
    if (live !== ours || ours.watchdog !== watchdog) return; // it was answered meanwhile
    unanswered(ours, works ? busy : retrying);
    expectAnswer(ours); // what is true now need not stay so
  }, SILENT_MS);
}

// What was found last is no longer true of what the camera shows.
function unanswered(ours, why = retrying) {
  if (live !== ours) return;
  showNothing();
  say("");
  $("save-picture").disabled = true;
  complain(why, "server");
}

// Why the server lets nobody in from here, which a socket does not tell; null where it would.
async function refusal(signal) {
  try {
    await call("v1/models", { signal });
  } catch (error) {
    if (error.status === 404) return () => text("elsewhere");
    if ([401, 403].includes(error.status)) return error.why;
  }
  return null;
}

function stopCamera() {
  if (!live) return;
  const { media, socket, watchdog } = live;
  clearTimeout(watchdog);
  live = null;
  socket?.close();
  $("video").pause();
  if (shown) showPicture(shown, $("video")); // the last frame stays, and can be saved
  media.getTracks().forEach((track) => track.stop());
  $("camera").textContent = text("camera");
  complain(nothing, "server");
}

// The next frame goes out when the last has been answered: what is shown is never old.
function sendFrame(ours) {
  const video = $("video");
  if (live !== ours) return;
  const canvas = ours.canvas ??= document.createElement("canvas");
  const shrink = Math.min(1, FRAME_WIDTH / video.videoWidth);
  canvas.width = Math.round(video.videoWidth * shrink);
  canvas.height = Math.round(video.videoHeight * shrink);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const taken = performance.now();
  canvas.toBlob(async (blob) => {
    if (!blob) return; // of a video that has just been taken away
    const frame = await blob.arrayBuffer();
    // The camera may have been stopped, or the server gone, while the frame was compressed.
    if (live !== ours || ours.socket.readyState !== WebSocket.OPEN) return;
    ours.sent.set(ours.next, taken);
    ours.next += 1;
    ours.socket.send(frame);
    expectAnswer(ours);
  }, "image/jpeg", 0.8);
}

function answered(ours, answer) {
  if (live !== ours) return;
  clearTimeout(ours.watchdog);
  ours.watchdog = null;
  const { socket } = ours; // a frame held back while the tab was hidden may find another
  if (answer.error) { // it is too busy: asking at once would make it more so
    ours.sent.delete(answer.frame);
    unanswered(ours, busy);
    setTimeout(() => { if (ours.socket === socket) sendFrame(ours); }, RETRY_MS);
    return;
  }
  complain(nothing, "server");
  requestAnimationFrame(() => { if (ours.socket === socket) sendFrame(ours); });
  const result = { path: null, frame: ours.before.frame + answer.frame,
    time_s: Math.round(1000 * (ours.before.time_s + answer.time_s)) / 1000, width: answer.width, height: answer.height,
    faces: answer.faces.map((face) => ({ ...face, track: ours.before.track + face.track })),
    error: null };
  keep(result);
  show(result);
  const now = performance.now();
  if (now - (ours.timeline ?? 0) > 200) {
    ours.timeline = now;
    drawTimeline();
  }
  ours.delays = [...ours.delays.slice(-99), now - ours.sent.get(answer.frame)];
  ours.sent.delete(answer.frame);
  // For whoever measures: milliseconds from frame to drawn box, and results a second.
  ours.answered = [...ours.answered.filter((time) => now - time < 5000), now];
  document.body.dataset.rate = (ours.answered.length / 5).toFixed(1);
  document.body.dataset.delay = median(ours.delays).toFixed(0);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

// -- pictures and videos ------------------------------------------------------------------------

const isVideo = (file) => file.type.startsWith("video/") || VIDEO.test(file.name);

// All pictures among them, or a video by itself.
function open(files) {
  const pictures = [...files].filter((file) => !isVideo(file));
  const several = pictures.length > 1;
  if (several) work((mine) => analyzeAlbum(pictures, mine));
  else if (files.length) work((mine) => (isVideo(files[0]) ? analyzeVideo : analyzePicture)(files[0], mine));
  const left = files.length - (several ? pictures.length : 1);
  if (left > 0) complain(() => text("left")(left), "left");
}

async function work(onIt) {
  stopCamera();
  const mine = begin();
  showUnderWay(true);
  tell("sending");
  try {
    await onIt(mine);
  } catch (error) {
    if (run !== mine) return;
    if (!still) tell(null);
    complain(() => why(error), "run");
  } finally {
    if (run === mine) {
      doing = null;
      showUnderWay(false);
    }
  }
}

function why(error) {
  if (error.unreadable) return text("nofile");
  if (error instanceof TypeError) return text("lost");
  // Of the picture or video itself, or of the server and its limits?
  const start = ITS_OWN.includes(error.status ?? 422) ? text("unread") : text("refusal");
  return start + (error.why?.() ?? error.message);
}

// A folder, say, or a file that was deleted since, looks as if the server could not be reached.
async function checkReadable(file) {
  const unread = () => { throw Object.assign(new Error("unreadable"), { unreadable: true }); };
  await file.slice(0, 1).arrayBuffer().catch(unread);
}

async function analyzePicture(file, mine) {
  const result = await analyzed(file, mine.signal);
  if (run !== mine) return;
  if (result.error) throw refusedFor(422, result.error);
  keep(result);
  await showStill(asStill(file, result, mine.signal));
}

async function analyzed(file, signal) {
  await checkReadable(file);
  const form = new FormData();
  form.append("file", file, file.name || "picture");
  const { results: [result] } = await call("v1/analyze", { method: "POST", body: form, signal });
  result.path = file.name || result.path; // a form has %22 for a quotation mark
  return result;
}

const asStill = (file, result, signal) => (
  { file, result, signal, explained: new Map(), pending: new Set(), wrong: null });

async function showStill(picture) {
  wanted = picture;
  // HEIC, say, which not every browser knows.
  const bitmap = await readPicture(picture.file).catch(() => null);
  if (wanted === picture) {
    still = picture;
    const { result } = picture;
    // Of another size it is not turned as the server's, and its faces are elsewhere.
    if (bitmap?.width === result.width && bitmap.height === result.height) showPicture(result, bitmap);
    else showNoPicture(result);
  }
  bitmap?.close?.(); // or memory grows with every look
}

// One after the other. A picture that cannot be read does not keep the others from it, and what was
// done until it is cancelled stays.
async function analyzeAlbum(files, mine) {
  const ours = album = { pictures: [], stop: new AbortController() };
  const { signal } = ours.stop;
  reveal("album", true);
  $("progress").setAttribute("aria-labelledby", "frames");
  for (const [number, file] of files.entries()) {
    $("progress").value = number / files.length;
    $("frames").textContent = `${text("pictures")}: ${number} / ${files.length}`;
    let result, wrong = null;
    try {
      // Not for ever where it takes the server too long, which the next time may as well.
      const again = (error) => isAway(error) && error.status !== 504;
      result = await insist(mine, () => analyzed(file, signal), again);
      if (result.error) wrong = () => text("unread") + reason(422, result.error);
    } catch (error) {
      if (signal.aborted) return;
      if (!error.unreadable && !OF_ONE.includes(error.status)) throw error;
      result = { ...NOT_READ, path: file.name, error: error.message };
      wrong = () => why(error);
    }
    if (signal.aborted || run !== mine) return;
    keep(result);
    const picture = Object.assign(asStill(file, result, mine.signal), { wrong });
    ours.pictures.push(picture);
    addToAlbum(picture);
    if (number === 0) {
      doing = null;
      await choosePicture(picture);
    }
  }
  retell($("aloud"), text("through")(files.length));
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

function nameInAlbum({ button, file, result, wrong }) {
  const [, title, said] = button.children;
  const count = result.faces.length;
  title.textContent = button.title = file.name;
  said.textContent = wrong ? text("unreadable") : !count ? text("none")
    : count === 1 ? name(result.faces[0].emotion) : `${count} ${text("people")}`;
}

async function choosePicture(picture) {
  complain(nothing);
  complain(nothing, "why");
  retell($("aloud"), "");
  if (picture.wrong) {
    still = wanted = picture;
    empty();
    showNothing();
    say(picture.file.name);
    $("save-picture").disabled = true;
    complain(picture.wrong);
  } else {
    await showStill(picture);
  }
  if (wanted !== picture) return;
  for (const { button } of album.pictures) button.ariaCurrent = button === picture.button ? "true" : null;
}

function showPicture(result, bitmap) {
  const canvas = $("picture");
  paintPicture(canvas, bitmap, enlarged(result));
  display(canvas);
  show(result);
  $("save-picture").disabled = false;
}

function paintPicture(canvas, source, { width, height }) {
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  if (source) pen.drawImage(source, 0, 0, width, height);
  return pen;
}

// Of what the server could read, but this browser cannot.
function showNoPicture(result) {
  showPicture(result, null);
  complain(() => text("invisible"));
  $("save-picture").disabled = true;
}

// The last state of the video's job, and its results as lines; null where the page has turned to
// something else.
async function workedOn(file, mine) {
  const { signal } = mine;
  await checkReadable(file);
  let state = await call("v1/analyze/video", { method: "POST", body: file, signal,
    headers: { "content-type": file.type || "application/octet-stream" } });
  const { id } = state;
  try {
    if (run !== mine) return null;
    job = id;
    while (state.state === "waiting" || state.state === "running") {
      await pause(300);
      state = await insist(mine, () => call(`v1/jobs/${id}`, { signal }));
      if (run !== mine) return null;
      tell(state.state === "waiting" ? "queued" : "working");
      if (state.progress) $("progress").value = state.progress; // 0 where the length is not known
      if (state.frames) $("frames").textContent = text("done") + state.frames;
    }
    const lines = await insist(mine, async () => {
      const answer = await fetch(`v1/jobs/${id}/results`, { headers, signal });
      if (!answer.ok) throw refusedFor(answer.status, answer.statusText);
      return (await answer.text()).trim();
    });
    return { state, lines };
  } finally {
    forget(id); // whatever happened: another video may be waiting
    if (job === id) job = null;
  }
}

async function analyzeVideo(file, mine) {
  const done = await workedOn(file, mine).catch((error) => {
    if (run !== mine || ![404, 410].includes(error.status)) throw error;
    showUnderWay(true);
    tell("sending");
    return workedOn(file, mine); // a server that was started anew knows nothing of the job
  });
  if (run !== mine) return;
  const { state, lines } = done;
  showUnderWay(false);
  tell(null);
  if (lines) lines.split("\n").map((line) => JSON.parse(line)).filter((row) => row.frame !== null).forEach(keep);
  if (state.error) complain(() => text("unread") + reason(422, state.error), "run");
  if (!rows.length) return;
  const video = $("video");
  video.ontimeupdate = () => follow(video);
  video.onpause = () => { if (shown) show(shown); }; // of the last frame, too, the summary is said
  const unseen = () => {
    video.ontimeupdate = video.onpause = null;
    video.pause();
    showNoPicture(rows[0]);
  };
  video.onerror = unseen; // AVI, say
  video.onloadedmetadata = () => { if (!video.videoWidth) unseen(); }; // HEVC with sound: that alone plays
  begins = 0;
  if (!document.hidden) {
    video.requestVideoFrameCallback?.((_, { mediaTime }) => {
      if (run === mine) begins = mediaTime - rows[0].time_s;
    });
  }
  video.src = URL.createObjectURL(file);
  display(video);
  show(rows[0]);
  drawTimeline();
  await video.play().catch(() => {});
}

// Nobody is there, or too much to do, perhaps by a proxy's word.
const isAway = (error) => error instanceof TypeError || [502, 503, 504].includes(error.status);

// Asks until the server is reached: that it is away for a moment must not cost a whole video.
async function insist(mine, ask, again = isAway) {
  try {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (run !== mine || !again(error)) throw error;
        complain(error.status === 503 ? busy : retrying, "server");
      }
      await pause(RETRY_MS);
    }
  } finally {
    if (run === mine) complain(nothing, "server");
  }
}

// Also while the page goes away.
function forget(id) {
  fetch(`v1/jobs/${id}`, { method: "DELETE", headers, keepalive: true }).catch(() => {});
}

// The result of the frame that a playing video shows.
function follow(video) {
  if (live || !rows.length) return;
  let [low, high] = [0, rows.length - 1];
  while (low < high) { // the last one that is not later
    const middle = Math.ceil((low + high) / 2);
    if (rows[middle].time_s <= video.currentTime - begins + 0.02) low = middle;
    else high = middle - 1;
  }
  if (rows[low] !== shown) show(rows[low]);
  if (video.paused || waiting !== null || !video.requestVideoFrameCallback) return;
  waiting = video.requestVideoFrameCallback(() => { waiting = null; follow(video); });
}

async function call(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  const body = await answer.json().catch((error) => {
    if (error instanceof SyntaxError) return {}; // a proxy's page, say
    throw error;
  });
  if (!answer.ok && !body.results) throw refusedFor(answer.status, body.error ?? answer.statusText);
  return body;
}

// Why, in the language of the moment.
function refusedFor(status, words) {
  const said = words || `HTTP ${status}`; // over HTTP/2 a status has no words
  const error = Object.assign(new Error(said), { status });
  error.why = () => reason(status, said);
  return error;
}

function display(element) {
  for (const id of ["video", "picture"]) $(id).classList.toggle("hidden", $(id) !== element);
  $("stage").classList.add("filled");
  reveal("large", document.fullscreenEnabled); // on an iPhone it is not
  $("video").controls = element === $("video") && !$("video").srcObject;
}

// -- saving ---------------------------------------------------------------------------------------

function save(blob, fileName) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function asCsv() {
  const columns = ["path", "frame", "time_s", "width", "height", "face", "track", "left", "top",
    "face_width", "face_height", "detection_score", "emotion", ...EMOTIONS, "error"];
  const cell = (value) => /[",\r\n]/.test(value ?? "")
    ? `"${String(value).replaceAll('"', '""')}"` : value ?? "";
  const lines = rows.flatMap((row) => {
    const about = [row.path, row.frame, row.time_s, row.width, row.height];
    if (!row.faces.length) return [[...about, ...Array(15).fill(null), row.error]];
    return row.faces.map((face, number) => [...about, number + 1, face.track, ...face.box,
      face.detection_score, face.emotion, ...EMOTIONS.map((e) => face.probabilities[e]),
      row.error]);
  });
  return [columns, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

function savePicture() {
  const source = $("video").classList.contains("hidden") ? $("picture") : $("video");
  const canvas = document.createElement("canvas");
  const large = enlarged(shown);
  const pen = paintPicture(canvas, source, large);
  paintBoxes(pen, large, Math.max(1, large.width / 800));
  canvas.toBlob((blob) => save(blob, "semblante.png"), "image/png");
}

// -- what happens when --------------------------------------------------------------------------

$("camera").onclick = () => (live ? stopCamera() : startCamera());
$("choose").onclick = () => $("file").click();
$("cancel").onclick = () => {
  if (album?.pictures.length) album.stop.abort();
  else begin();
};
// Of picture and boxes together: a video's own button shows the video alone.
$("large").onclick = () => $("stage").requestFullscreen();
$("file").onchange = (event) => {
  const files = [...event.target.files];
  event.target.value = ""; // or the same file could not be chosen again
  open(files);
};
$("language").value = spoken();
$("language").onchange = (event) => {
  speakIn(event.target.value);
  speak();
  drawTimeline();
};
$("save-json").onclick = () => save(
  new Blob([rows.map((row) => JSON.stringify(row) + "\n").join("")]), "semblante.jsonl");
$("save-csv").onclick = () => save(new Blob([asCsv()], { type: "text/csv" }), "semblante.csv");
$("save-picture").onclick = savePicture;
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("stage").classList.add("over");
});
document.addEventListener("dragleave", () => $("stage").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  open(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  open(event.clipboardData.files);
});
window.addEventListener("hashchange", () => location.reload()); // another token
window.addEventListener("pagehide", () => { if (job) forget(job); });
for (const change of ["resize", "fullscreenchange"]) {
  window.addEventListener(change, () => { if (shown) drawBoxes(shown); drawTimeline(); });
}
speak();
