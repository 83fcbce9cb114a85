// The page's entry point: connects buttons and other events to the modules that act on them. The page sends a
// camera's frames (camera.js), pictures or a video (files.js) to the server, and shows boxes, bars and a timeline.

import { nameCameraButton, startOrStopCamera, takeCamera } from "./camera.js";
import { $, retell } from "./elements.js";
import { showAllBars } from "./faces.js";
import { openFiles } from "./files.js";
import { sayAgain } from "./messages.js";
import { COLOURS } from "./painting.js";
import { nameInAlbum } from "./pictures.js";
import { drawBoxes, drawTimeline, showResult, speakAtOnce } from "./results.js";
import { begin } from "./run.js";
import { saveCsv, saveJson, savePicture } from "./saving.js";
import { state } from "./state.js";
import { leaveJob, seek } from "./videos.js";
import { EMOTIONS, name, speakIn, spoken, text } from "./words.js";

// -- the camera, files, and saving ----------------------------------------------------------------

$("camera").onclick = startOrStopCamera;
$("choose").onclick = () => $("file").click();
$("file").onchange = (event) => {
  const files = [...event.target.files];
  event.target.value = ""; // otherwise choosing the same file again would do nothing
  openFiles(files);
};
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("stage").classList.add("over");
});
document.addEventListener("dragleave", () => $("stage").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  openFiles(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  openFiles(event.clipboardData.files);
});
$("cancel").onclick = () => {
  if (state.stop) state.stop.abort();
  else begin();
  retell($("aloud"), text("cancelled"));
};
$("hint").onclick = () => $("file").click();
$("rest").onclick = showAllBars;
$("cameras").onchange = (event) => takeCamera(event.target.value);
$("timeline").onclick = (event) => seek(event.offsetX / event.target.clientWidth);
$("save-json").onclick = saveJson;
$("save-csv").onclick = saveCsv;
$("save-picture").onclick = savePicture;

// -- the window -----------------------------------------------------------------------------------

// Full screen of the picture and its boxes: a video's own button would show the video alone.
$("large").onclick = () => $("stage").requestFullscreen();
for (const change of ["resize", "fullscreenchange"]) {
  window.addEventListener(change, () => { if (state.shown) drawBoxes(state.shown); drawTimeline(); });
}
// A video gets its size only once it has begun to load.
new ResizeObserver(() => { if (state.shown) drawBoxes(state.shown); }).observe($("boxes"));
document.addEventListener("fullscreenchange", () => {
  const large = document.fullscreenElement === $("stage");
  if (large === $("stage").contains($("error"))) return; // a video's own button was used
  // Errors must be visible in full screen too.
  if (large) $("stage").append($("error"));
  else $("summary").after($("error"));
  if (!document.fullscreenElement) $("large").focus({ preventScroll: true }); // leaving full screen drops the focus
});
window.addEventListener("hashchange", () => location.reload()); // the address has another token
window.addEventListener("pagehide", leaveJob);

// -- the language ---------------------------------------------------------------------------------

$("language").value = spoken();
$("language").onchange = (event) => {
  speakIn(event.target.value);
  speak();
  drawTimeline();
};
speak();

// Shows all of the page's texts in the current language.
function speak() {
  document.documentElement.lang = spoken();
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
  nameCameraButton();
  $("legend").replaceChildren(...EMOTIONS.map(legendEntry));
  state.album?.pictures.forEach(nameInAlbum);
  retell($("aloud"), ""); // it is about an earlier action, in the earlier language
  speakAtOnce(); // in another language the result is news, even while a video plays
  if (state.shown) showResult(state.shown);
  sayAgain();
}

function legendEntry(emotion) {
  const item = document.createElement("li");
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  mark.setAttribute("viewBox", "0 0 10 10");
  mark.setAttribute("aria-hidden", "true");
  const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const looks = { width: 10, height: 10, fill: COLOURS[emotion], stroke: "currentColor" };
  for (const [key, value] of Object.entries(looks)) square.setAttribute(key, value);
  mark.append(square);
  item.append(mark, name(emotion));
  return item;
}
