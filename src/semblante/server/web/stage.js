// The place where a picture, a video or the camera is seen.

import { $, reveal } from "./elements.js";
import { complain } from "./messages.js";
import { resized, paintPicture } from "./painting.js";
import { showResult } from "./results.js";
import { text } from "./words.js";

// One at a time: the picture, or the video, which is also the camera's.
export function putOnStage(element) {
  for (const id of ["video", "picture"]) $(id).classList.toggle("hidden", $(id) !== element);
  $("stage").classList.add("filled");
  reveal("large", document.fullscreenEnabled); // on an iPhone it is not
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
  video.controls = false; // or the keyboard would still reach them
}

// `source` is a picture, or a video whose frame stays.
export function showPicture(result, source) {
  const canvas = $("picture");
  paintPicture(canvas, source, resized(result));
  putOnStage(canvas);
  showResult(result);
  $("save-picture").disabled = false;
}

// Of what the server could read, but this browser cannot.
export function showNoPicture(result, why = "invisible") {
  showPicture(result, null);
  complain(() => text(why));
  $("save-picture").disabled = true;
}
