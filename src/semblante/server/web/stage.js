// The stage: the area of the page that shows a picture, a video or the camera.

import { $, enable, reveal } from "./elements.js";
import { complain } from "./messages.js";
import { resized, paintPicture } from "./painting.js";
import { showResult } from "./results.js";
import { text } from "./words.js";

// Shows one of the two elements: the picture, or the video, which also shows the camera.
export function putOnStage(element) {
  for (const id of ["video", "picture"]) $(id).classList.toggle("hidden", $(id) !== element);
  $("stage").classList.add("filled");
  reveal("large", document.fullscreenEnabled); // not on an iPhone
  $("video").controls = element === $("video") && !$("video").srcObject;
}

export function emptyStage() {
  for (const id of ["video", "picture"]) $(id).classList.add("hidden");
  $("stage").classList.remove("filled");
  reveal("large", false);
}

export function releaseVideo() {
  const video = $("video");
  if (video.src) URL.revokeObjectURL(video.src);
  video.pause();
  video.removeAttribute("src");
  video.srcObject = null;
  video.classList.remove("mirrored");
  video.controls = false; // otherwise the keyboard could still reach them
}

// `source`: the picture, or null.
export function showPicture(result, source) {
  const canvas = $("picture");
  paintPicture(canvas, source, resized(result));
  putOnStage(canvas);
  showResult(result);
  enable("save-picture", true);
}

// Shows the boxes without a picture, for a file that the server could read but this browser cannot show.
export function showNoPicture(result, why = "invisible") {
  showPicture(result, null);
  complain(() => text(why));
  enable("save-picture", false);
}
