// Files that were chosen, dropped or pasted: pictures or a video, and what came of the work on them.

import { describeFailure } from "./api.js";
import { stayAwake } from "./awake.js";
import { stopCamera } from "./camera.js";
import { complain, showUnderWay, tellUnderWay } from "./messages.js";
import { analyzeAlbum, analyzePicture } from "./pictures.js";
import { showNothing } from "./results.js";
import { begin } from "./run.js";
import { state } from "./state.js";
import { analyzeVideo } from "./videos.js";
import { text } from "./words.js";

// Those of a video, for files whose kind the browser does not know, or takes for something else: .ts
// for a translator's text, .mxf and .asf for programs' data.
const VIDEO = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|wmv|flv|3gp|m?ts|m2ts|m2v|ogv|asf|vob|f4v|mxf)$/i;

const isVideo = (file) => file.type.startsWith("video/") || VIDEO.test(file.name);

// All pictures among them, or a video by itself.
export function openFiles(files) {
  const pictures = [...files].filter((file) => !isVideo(file));
  const several = pictures.length > 1;
  if (several) workOn((signal) => analyzeAlbum(pictures, signal));
  else if (files.length) workOn((signal) => (isVideo(files[0]) ? analyzeVideo : analyzePicture)(files[0], signal));
  const left = files.length - (several ? pictures.length : 1);
  if (left > 0) complain(() => text("left")(left), "left");
}

async function workOn(analysis) {
  stopCamera();
  const signal = begin();
  showUnderWay(true);
  tellUnderWay("sending");
  const done = new AbortController();
  stayAwake(done.signal); // or a telephone would be locked while it sends, and ask no more about a video
  try {
    await analysis(signal);
  } catch (error) {
    if (signal.aborted) return;
    if (!state.shownStill) tellUnderWay(null);
    if (!state.shown) showNothing(null);
    complain(() => describeFailure(error), "run");
  } finally {
    done.abort();
    if (!signal.aborted) showUnderWay(false);
  }
}
