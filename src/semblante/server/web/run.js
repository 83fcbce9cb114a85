// A run is all that the page does with what a person chose, until they turn to something else.

import { $, retell } from "./elements.js";
import { showUnderWay, tellUnderWay, withdrawAll } from "./messages.js";
import { closeAlbum } from "./pictures.js";
import { drawTimeline, offerSaving, showNothing, speakAtOnce } from "./results.js";
import { emptyStage, releaseVideo } from "./stage.js";
import { state } from "./state.js";
import { stopFollowing } from "./videos.js";

let run = new AbortController();

// Turn to something else: nothing of what was there before stays. Returns the signal of the new run. Once
// that is aborted the page has turned to the next, and what belongs to this one gives up.
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
