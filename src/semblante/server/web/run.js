// Runs: a run is the work on what the user chose (files or the camera), until they choose something else.

import { $, retell } from "./elements.js";
import { showUnderWay, tellUnderWay, withdrawAll } from "./messages.js";
import { closeAlbum } from "./pictures.js";
import { drawTimeline, offerSaving, showNothing, speakAtOnce } from "./results.js";
import { emptyStage, releaseVideo } from "./stage.js";
import { state } from "./state.js";
import { stopFollowing } from "./videos.js";

let run = new AbortController();

// Ends the current run, clears the page, and begins a new one. Returns the new run's signal, which is aborted when the
// next run begins: everything that belongs to this one must then give up.
export function begin() {
  run.abort();
  run = new AbortController();
  state.rows = [];
  state.growing = false;
  state.stop = null;
  state.shownStill = state.requestedStill = null;
  closeAlbum();
  speakAtOnce();
  withdrawAll();
  tellUnderWay(null);
  retell($("aloud"), "");
  showNothing();
  showUnderWay(false);
  offerSaving(false);
  stopFollowing();
  releaseVideo();
  emptyStage();
  drawTimeline();
  return run.signal;
}
