// Files that were chosen, dropped or pasted: starts their analysis as a picture, an album or a video.

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

// Names of video files, for files whose type the browser does not know or mistakes: .ts for a file of the translation
// tool Qt Linguist, .mxf and .asf for an application's data.
const VIDEO = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|wmv|flv|3gp|m?ts|m2ts|m2v|ogv|asf|vob|f4v|mxf)$/i;

const isVideo = (file) => file.type.startsWith("video/") || VIDEO.test(file.name);

// Analyses all pictures among the files if there are several, otherwise the first file; says how many are left out.
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
  stayAwake(done.signal); // a locked telephone would stop sending, and asking about a video's job
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
