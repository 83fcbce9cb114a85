// The live camera: sends its frames to the server one by one, and shows each answer when it comes.

import { briefly, busy, call, elsewhere, isBusy, isUp, openStream, RETRY_MS, retrying } from "./api.js";
import { stayAwake } from "./awake.js";
import { $, enable, reveal } from "./elements.js";
import { complain, say, tellUnderWay, withdraw } from "./messages.js";
import { drawTimeline, keepResult, offerSaving, showNothing, showResult } from "./results.js";
import { begin } from "./run.js";
import { emptyStage, putOnStage, releaseVideo, showPicture } from "./stage.js";
import { state } from "./state.js";
import { text } from "./words.js";

const GONE = ["OverconstrainedError", "NotFoundError"]; // names of the browser's errors if there is no such camera
const FRAME_WIDTH = 640; // pixels; wider frames are shrunk before they are sent
const SILENT_MS = 5000; // the page complains after this time without an answer
// After this many of these waits in a row the page reconnects: a working server answers within a minute.
const MOST_SILENCES = 13;
const GIVEN_UP_MIN = 5; // minutes without an answer after which the camera is stopped
const DOUBLE_CLICK_MS = 1000; // for which a camera that starts cannot be stopped

let chosen = null; // the id of the camera that the user chose, if any
// While a camera is starting: the argument `before` of `startCamera`, and an AbortController that gives it up.
let starting = null;

// -- on and off ---------------------------------------------------------------------------------

// `before`: the results of the camera that was on before, which this one continues, and when that one `started`.
export async function startCamera(before = { rows: [] }) {
  const signal = begin();
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort());
  starting = { before, stop };
  state.rows = before.rows;
  offerSaving(before.rows.length > 0);
  drawTimeline();
  nameCameraButton();
  const focused = document.activeElement === $("camera"); // a disabled button loses the focus
  $("camera").disabled = true; // the second click of a double click would stop the camera
  const enableButton = () => {
    $("camera").disabled = false;
    if (focused && document.activeElement === document.body) $("camera").focus({ preventScroll: true });
  };
  const slow = setTimeout(() => { enableButton(); tellUnderWay("starting"); }, DOUBLE_CLICK_MS);
  const ready = () => {
    if (starting?.stop !== stop) return; // it was ready before
    starting = null;
    clearTimeout(slow);
    tellUnderWay(null);
    nameCameraButton();
    enableButton();
  };
  // The browser's request for permission may never be answered: do not wait for it once the user has given up, or
  // another run has begun.
  stop.signal.addEventListener("abort", ready);
  const media = await openCamera(stop.signal);
  if (!stop.signal.aborted) ready();
  if (!media) return;
  const [track] = media.getVideoTracks();
  const { facingMode, deviceId } = track.getSettings();
  // Mirrored, unless it is a telephone's rear camera.
  const mirrored = facingMode !== "environment";
  const video = $("video");
  video.classList.toggle("mirrored", mirrored);
  putOnStage(video);
  const ended = new AbortController();
  const camera = state.live = {
    media, signal, mirrored, ended, started: before.started, socket: null, silences: 0,
    failingSince: null, // when it first went unanswered, in `performance.now`'s milliseconds, since the last answer
    // Grows with each frame that a busy server leaves out, and shrinks with each that it answers. The page complains
    // from the second on, until it is 0: a server that leaves out every other frame would make the words flicker.
    trouble: 0,
    sent: document.createElement("canvas"), // the frame that was sent last
    answered: document.createElement("canvas"), // the frame that the result on the page is about
  };
  nameCameraButton();
  // Another program took the camera, or a switch turned it off: the last picture would stay without a word.
  track.onmute = track.onunmute = () => {
    if (state.live === camera) complain(track.muted ? () => text("muted") : null, "camera");
  };
  track.onmute();
  // The camera was unplugged, or the user withdrew the permission.
  track.onended = () => {
    if (state.live === camera) { stopCamera(); complain(() => text("gone")); }
    forgetChoice();
  };
  stayAwake(ended.signal);
  connect(camera);
  await offerCameras(deviceId);
}

// Turns the chosen camera on. Returns its stream, which plays; null, with the camera off, if that fails, about which it
// complains, or if another run has begun meanwhile.
async function openCamera(signal) {
  const video = $("video");
  let media = null;
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "Insecure");
    const wanted = chosen ? { deviceId: { exact: chosen } } : {};
    media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, ...wanted } });
    signal.throwIfAborted();
    video.srcObject = media;
    await video.play();
    signal.throwIfAborted();
    return media;
  } catch (error) {
    media?.getTracks().forEach((track) => track.stop());
    if (signal.aborted) return null;
    if (GONE.includes(error.name)) forgetChoice();
    const cause = () => text("refused")[error.name] ?? text("refused").other;
    complain(() => text("denied") + cause());
    return null;
  }
}

// Offers a choice if there are several cameras, as in a telephone. Browsers tell cameras' names only to a page that
// may use one.
async function offerCameras(used) {
  const known = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  const cameras = known.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
  $("cameras").replaceChildren(...cameras.map(({ label, deviceId }, number) =>
    new Option(label || number + 1, deviceId, false, deviceId === used)));
  reveal("which", cameras.length > 1);
}

// The chosen camera is gone.
function forgetChoice() {
  chosen = null;
  $("cameras").selectedIndex = -1; // otherwise it would still look chosen
}

// A camera may be plugged in or unplugged while another is on.
navigator.mediaDevices?.addEventListener("devicechange", () => {
  const [track] = state.live?.media.getVideoTracks() ?? [];
  if (track) offerCameras(track.getSettings().deviceId);
});

// Chooses a camera. If one is on or starting, the new one takes its place at once, and the results so far are
// kept.
export function takeCamera(deviceId) {
  chosen = deviceId;
  const before = state.live ? { rows: state.rows, started: state.live.started } : starting?.before;
  stopCamera();
  if (before) startCamera(before);
}

// What the camera's button would do.
export function nameCameraButton() {
  $("camera").textContent = text(state.live || starting ? "stop" : "camera");
}

export const startOrStopCamera = () => (state.live || starting ? stopCamera() : startCamera());

export function stopCamera() {
  if (starting) {
    starting.stop.abort();
    releaseVideo();
  }
  if (!state.live) return;
  const { media, socket, watchdog, ended, answered } = state.live;
  ended.abort();
  clearTimeout(watchdog);
  state.live = null;
  socket?.close();
  media.getTracks().forEach((track) => track.stop());
  releaseVideo();
  if (state.shown) showPicture(state.shown, answered); // the last frame that was answered stays, and can be saved
  else emptyStage();
  nameCameraButton();
  drawTimeline();
  withdraw("server");
  withdraw("camera");
}

// -- the connection -----------------------------------------------------------------------------

// If the server goes away, the camera stays on, and the page keeps reconnecting for a while: see `unanswered`.
function connect(camera) {
  if (state.live !== camera) return;
  const { rows } = state;
  camera.silences = 0;
  const socket = openStream();
  camera.socket = socket;
  expectAnswer(camera);
  // Each connection counts frames, faces and seconds from its own start.
  camera.started ??= performance.now();
  camera.before = {
    frame: rows.length ? rows.at(-1).frame + 1 : 0,
    track: rows.reduce((most, row) => Math.max(most, ...row.faces.map((face) => face.track)), 0),
    time_s: rows.length ? (performance.now() - camera.started) / 1000 : 0,
  };
  let opened = false;
  socket.onopen = () => { opened = true; sendFrame(camera); };
  const again = () => { if (camera.socket === socket) connect(camera); };
  socket.onmessage = (event) => { if (camera.socket === socket) takeAnswer(camera, JSON.parse(event.data)); };
  socket.onclose = async (event) => {
    const full = { why: () => text("full"), final: true };
    const { why, final } = event.code === 1013 ? full : opened ? { why: retrying } : await refusal(camera.signal);
    if (state.live !== camera || camera.socket !== socket) return; // another connection may have taken its place
    if (event.code === 1001 && document.hidden) { // the tab was hidden, so no frames were sent, and the server closed
      clearTimeout(camera.watchdog);
      document.addEventListener("visibilitychange", again, { once: true });
      return;
    }
    if (final) {
      stopCamera();
      complain(why);
    } else {
      unanswered(camera, why);
      setTimeout(again, RETRY_MS);
    }
  };
}

// Why the server does not take a connection, which a failed WebSocket does not tell: `why` is a function that says it;
// `final`: whether the server refuses this page, so that it is no use to try again.
async function refusal(signal) {
  try {
    await call("v1/models", { signal: briefly(signal) });
  } catch (error) {
    if (error.status === 404 || error.translated === elsewhere) return { why: elsewhere, final: true };
    if ([401, 403].includes(error.status)) return { why: error.translated, final: true };
    if (isBusy(error)) return { why: busy, final: false };
  }
  return { why: retrying, final: false };
}

// Complains if no answer comes for `SILENT_MS`: the server may hang although the connection stays open, or be busy
// with others' requests.
function expectAnswer(camera) {
  clearTimeout(camera.watchdog);
  const watchdog = camera.watchdog = setTimeout(async () => {
    const works = await isUp();
    if (state.live !== camera || camera.watchdog !== watchdog) return; // answered meanwhile
    unanswered(camera, works ? busy : retrying);
    if (state.live !== camera) return; // given up
    camera.silences += 1;
    if (works && camera.silences >= MOST_SILENCES) { // a socket may be dead after a change of networks
      camera.socket.close();
      connect(camera);
      return;
    }
    expectAnswer(camera); // look again later: the reason may change
  }, SILENT_MS);
}

// Complains, and removes the last result, which no longer matches what the camera shows. After some minutes it stops
// the camera: nobody may be there to see that it films in vain.
function unanswered(camera, complaint) {
  if (state.live !== camera) return;
  const now = performance.now();
  camera.failingSince ??= now;
  if (now - camera.failingSince > GIVEN_UP_MIN * 60_000) {
    stopCamera();
    complain(() => text("givenUp")(GIVEN_UP_MIN));
    return;
  }
  showNothing();
  say("");
  enable("save-picture", false);
  complain(complaint, "server");
}

// -- frames and answers -------------------------------------------------------------------------

// Sends one frame; `takeAnswer` calls this again. Only one frame is under way, so that no result shown is old.
function sendFrame(camera) {
  const video = $("video");
  const { socket } = camera;
  if (state.live !== camera) return;
  const canvas = camera.sent;
  const shrink = Math.min(1, FRAME_WIDTH / video.videoWidth);
  canvas.width = Math.round(video.videoWidth * shrink);
  canvas.height = Math.round(video.videoHeight * shrink);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  canvas.toBlob(async (blob) => {
    if (!blob) { // the video has just been removed, or has no picture yet
      setTimeout(() => { if (camera.socket === socket) sendFrame(camera); }, RETRY_MS);
      return;
    }
    const frame = await blob.arrayBuffer();
    // The camera may have been stopped, or the server gone, while the frame was compressed.
    if (state.live !== camera || camera.socket !== socket || socket.readyState !== WebSocket.OPEN) return;
    socket.send(frame);
    expectAnswer(camera);
  }, "image/jpeg", 0.8);
}

function takeAnswer(camera, answer) {
  if (state.live !== camera) return;
  const { before, socket } = camera; // a hidden tab's animation frame comes late: there may be another socket then
  clearTimeout(camera.watchdog);
  camera.watchdog = null;
  camera.silences = 0;
  if (answer.error) { // the server is too busy: another frame at once would make it worse
    camera.trouble = Math.min(3, camera.trouble + 1);
    if (camera.trouble > 1) unanswered(camera, busy);
    setTimeout(() => { if (camera.socket === socket) sendFrame(camera); }, RETRY_MS);
    return;
  }
  camera.failingSince = null;
  camera.trouble = Math.max(0, camera.trouble - 1);
  if (!camera.trouble) withdraw("server");
  [camera.answered, camera.sent] = [camera.sent, camera.answered]; // the next frame leaves this one as it is
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
}
