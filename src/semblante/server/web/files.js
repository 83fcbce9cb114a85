// Files that were chosen, dropped or pasted: starts their analysis as a picture, an album or a video.

import { describeFailure } from "./api.js";
import { stayAwake } from "./awake.js";
import { stopCamera } from "./camera.js";
import { $ } from "./elements.js";
import { complain, showUnderWay, tellUnderWay } from "./messages.js";
import { analyzeAlbum, analyzePicture } from "./pictures.js";
import { showNothing } from "./results.js";
import { begin } from "./run.js";
import { state } from "./state.js";
import { analyzeVideo } from "./videos.js";
import { text } from "./words.js";

// How the names of files end that the server reads. Browsers do not know the type of each, or mistake it: .ts for a
// file of the translation tool Qt Linguist, .mxf and .asf for an application's data.
const VIDEOS = ("mp4 m4v mov qt mkv webm avi wmv asf flv f4v 3gp 3g2 mpg mpeg mpe m1v m2v vob ts mts m2ts m2t ogv mxf "
  + "dv").split(" ");
const PICTURES = ("jpg jpeg jpe jfif mpo png apng webp avif bmp dib gif tif tiff ppm pgm pbm pnm jp2 j2k jpx heic heif "
  + "hif").split(" ");
const VIDEO = new RegExp(`\\.(${VIDEOS.join("|")})$`, "i");

// They can all be chosen in a dialogue, beside those whose type the browser knows for a picture's or a video's. Not on
// telephones, of which some show their album only if nothing else is asked for.
if (!matchMedia("(pointer: coarse)").matches) {
  $("file").accept += [...PICTURES, ...VIDEOS].map((ending) => `,.${ending}`).join("");
}

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
