// The camera, live: its frames go to the server one by one, and each answer is shown as it comes.

import { busy, call, isUp, openStream, RETRY_MS, retrying } from "./api.js";
import { stayAwake } from "./awake.js";
import { $, reveal } from "./elements.js";
import { complain, say, withdraw } from "./messages.js";
import { drawTimeline, keepResult, offerSaving, showNothing, showResult } from "./results.js";
import { begin } from "./run.js";
import { putOnStage, showPicture } from "./stage.js";
import { state } from "./state.js";
import { text } from "./words.js";

const GONE = ["OverconstrainedError", "NotFoundError"]; // how a browser says that there is no such camera
const FRAME_WIDTH = 640; // pixels sent of a camera's frame
const SILENT_MS = 5000; // after so long without an answer the page says so
// After so many of these it tries another connection: a server that works answers within a minute.
const MOST_SILENCES = 13;

let chosen = null; // the id of the camera that is wanted, where there are several
let starting = null; // while one is: what another saw before it

// -- on and off ---------------------------------------------------------------------------------

// `before`: what another camera saw, which goes on.
export async function startCamera(before = { rows: [] }) {
  const signal = begin();
  starting = before;
  state.rows = before.rows;
  offerSaving(before.rows.length > 0);
  drawTimeline();
  const video = $("video");
  let media;
  const ended = new AbortController();
  const focused = document.activeElement === $("camera"); // which a disabled button loses
  $("camera").disabled = true; // a second click would ask for a second stream
  // Nor does a question that nobody answers ever end, when the page has turned to something else.
  signal.addEventListener("abort", () => { $("camera").disabled = false; starting = null; });
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "Insecure");
    const wanted = chosen ? { deviceId: { exact: chosen } } : {};
    media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, ...wanted } });
    if (!signal.aborted) {
      video.srcObject = media;
      await video.play();
    }
  } catch (error) {
    if (!signal.aborted && GONE.includes(error.name)) forgetChoice();
    const cause = () => text("refused")[error.name] ?? text("refused").other;
    if (!signal.aborted) complain(() => text("denied") + cause());
  } finally {
    if (!signal.aborted) {
      $("camera").disabled = false;
      starting = null;
    }
    if (focused && document.activeElement === document.body) $("camera").focus();
  }
  if (signal.aborted || !media || video.srcObject !== media || video.paused) {
    media?.getTracks().forEach((track) => track.stop());
    return;
  }
  const [track] = media.getVideoTracks();
  const { facingMode, deviceId } = track.getSettings();
  // As a mirror shows one, unless it looks the other way.
  const mirrored = facingMode !== "environment";
  video.classList.toggle("mirrored", mirrored);
  putOnStage(video);
  const camera = state.live = {
    media, signal, mirrored, ended, started: before.started, socket: null, silences: 0,
    next: 0, sent: new Map(), // a frame's number, and when those that are not answered yet were taken
    delays: [], answeredAt: [], // for whoever measures
  };
  $("camera").textContent = text("stop");
  // Unplugged, or taken back by the person.
  track.onended = () => {
    if (state.live === camera) { stopCamera(); complain(() => text("gone")); }
    forgetChoice();
  };
  stayAwake(ended.signal);
  connect(camera);
  await offerCameras(deviceId);
}

// Where there are several, as of a telephone: which? Their names are told to who may use one.
async function offerCameras(used) {
  const known = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  const cameras = known.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
  $("cameras").replaceChildren(...cameras.map(({ label, deviceId }, number) =>
    new Option(label || number + 1, deviceId, false, deviceId === used)));
  reveal("which", cameras.length > 1);
}

// It is there no more.
function forgetChoice() {
  chosen = null;
  $("cameras").selectedIndex = -1; // or it would look as if it were still wanted
}

// One that is plugged in, or pulled, while another is on.
navigator.mediaDevices?.addEventListener("devicechange", () => {
  const [track] = state.live?.media.getVideoTracks() ?? [];
  if (track) offerCameras(track.getSettings().deviceId);
});

// At once where one is at work, or about to be, and what was seen is kept.
export function takeCamera(deviceId) {
  chosen = deviceId;
  const before = state.live ? { rows: state.rows, started: state.live.started } : starting;
  stopCamera();
  if (before) startCamera(before);
}

export function stopCamera() {
  if (!state.live) return;
  const { media, socket, watchdog, ended } = state.live;
  ended.abort();
  clearTimeout(watchdog);
  state.live = null;
  socket?.close();
  $("video").pause();
  if (state.shown) showPicture(state.shown, $("video")); // the last frame stays, and can be saved
  media.getTracks().forEach((track) => track.stop());
  $("camera").textContent = text("camera");
  drawTimeline();
  withdraw("server");
}

// -- the connection -----------------------------------------------------------------------------

// Where the server goes away the camera stays on, and the page asks again until it is back.
function connect(camera) {
  if (state.live !== camera) return;
  const { rows } = state;
  camera.silences = 0;
  const socket = openStream();
  camera.socket = socket;
  expectAnswer(camera);
  camera.sent.clear();
  camera.next = 0;
  // Each connection counts frames, faces and seconds from its own start.
  camera.started ??= performance.now();
  camera.before = {
    frame: rows.length ? rows.at(-1).frame + 1 : 0,
    track: rows.reduce((most, row) => Math.max(most, ...row.faces.map((face) => face.track)), 0),
    time_s: rows.length ? (performance.now() - camera.started) / 1000 : 0,
  };
  let opened = false;
  socket.onopen = () => { opened = true; withdraw("server"); sendFrame(camera); };
  const again = () => { if (camera.socket === socket) connect(camera); };
  socket.onmessage = (event) => { if (camera.socket === socket) takeAnswer(camera, JSON.parse(event.data)); };
  socket.onclose = async (event) => {
    const full = () => text("full");
    const refused = event.code === 1013 ? full : opened ? null : await refusal(camera.signal);
    if (state.live !== camera || camera.socket !== socket) return; // there may be another by now
    if (event.code === 1001 && document.hidden) { // nobody looked, so nothing was sent
      clearTimeout(camera.watchdog);
      document.addEventListener("visibilitychange", again, { once: true });
      return;
    }
    if (refused) {
      stopCamera();
      complain(refused);
    } else {
      unanswered(camera);
      setTimeout(again, RETRY_MS);
    }
  };
}

// Says why the server lets nobody in from here, which a socket does not tell; null where it would.
async function refusal(signal) {
  try {
    await call("v1/models", { signal });
  } catch (error) {
    if (error.status === 404) return () => text("elsewhere");
    if ([401, 403].includes(error.status)) return error.translated;
  }
  return null;
}

// A server may also hang, and the connection stay; or work on what others have sent.
function expectAnswer(camera) {
  clearTimeout(camera.watchdog);
  const watchdog = camera.watchdog = setTimeout(async () => {
    const works = await isUp();
    if (state.live !== camera || camera.watchdog !== watchdog) return; // it was answered meanwhile
    unanswered(camera, works ? busy : retrying);
    camera.silences += 1;
    if (works && camera.silences >= MOST_SILENCES) { // after a change of networks a socket may be dead
      camera.socket.close();
      connect(camera);
      return;
    }
    expectAnswer(camera); // what is true now need not stay so
  }, SILENT_MS);
}

// What was found last is no longer true of what the camera shows.
function unanswered(camera, complaint = retrying) {
  if (state.live !== camera) return;
  showNothing();
  say("");
  $("save-picture").disabled = true;
  complain(complaint, "server");
}

// -- frames and answers -------------------------------------------------------------------------

// The next frame goes out when the last has been answered: what is shown is never old.
function sendFrame(camera) {
  const video = $("video");
  const { socket } = camera;
  if (state.live !== camera) return;
  const canvas = camera.canvas ??= document.createElement("canvas");
  const shrink = Math.min(1, FRAME_WIDTH / video.videoWidth);
  canvas.width = Math.round(video.videoWidth * shrink);
  canvas.height = Math.round(video.videoHeight * shrink);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const taken = performance.now();
  canvas.toBlob(async (blob) => {
    if (!blob) { // of a video that has just been taken away, or has no picture yet
      setTimeout(() => { if (camera.socket === socket) sendFrame(camera); }, RETRY_MS);
      return;
    }
    const frame = await blob.arrayBuffer();
    // The camera may have been stopped, or the server gone, while the frame was compressed.
    if (state.live !== camera || camera.socket !== socket || socket.readyState !== WebSocket.OPEN) return;
    camera.sent.set(camera.next, taken);
    camera.next += 1;
    socket.send(frame);
    expectAnswer(camera);
  }, "image/jpeg", 0.8);
}

function takeAnswer(camera, answer) {
  if (state.live !== camera) return;
  clearTimeout(camera.watchdog);
  camera.watchdog = null;
  camera.silences = 0;
  const { before, socket } = camera; // by the time that a hidden tab is seen again there may be another
  if (answer.error) { // it is too busy: asking at once would make it more so
    camera.sent.delete(answer.frame);
    unanswered(camera, busy);
    setTimeout(() => { if (camera.socket === socket) sendFrame(camera); }, RETRY_MS);
    return;
  }
  withdraw("server");
  requestAnimationFrame(() => { if (camera.socket === socket) sendFrame(camera); });
  const result = {
    path: null, frame: before.frame + answer.frame,
    time_s: Math.round(1000 * (before.time_s + answer.time_s)) / 1000, width: answer.width, height: answer.height,
    faces: answer.faces.map((face) => ({ ...face, track: before.track + face.track })), error: null,
  };
  keepResult(result);
  showResult(result);
  const now = performance.now();
  if (now - (camera.timelineDrawn ?? 0) > 200) {
    camera.timelineDrawn = now;
    drawTimeline();
  }
  measure(camera, answer.frame, now);
}

// For whoever measures: milliseconds from frame to drawn box, and results a second.
function measure(camera, frame, now) {
  camera.delays = [...camera.delays.slice(-99), now - camera.sent.get(frame)];
  camera.sent.delete(frame);
  camera.answeredAt = [...camera.answeredAt.filter((time) => now - time < 5000), now];
  document.body.dataset.rate = (camera.answeredAt.length / 5).toFixed(1);
  document.body.dataset.delay = median(camera.delays).toFixed(0);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
