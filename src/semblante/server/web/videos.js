// A video: the server works on it as a job; then it plays, and each frame is shown with its result.

import { briefly, call, checkReadable, describeFailure, forgetJob, insist, jobResults, pause, refusedFor } from "./api.js";
import { $ } from "./elements.js";
import { complain, say, showUnderWay, tellCount, tellUnderWay } from "./messages.js";
import { drawTimeline, momentAt, offerSaving, showMoment, showNothing, showResult } from "./results.js";
import { putOnStage, showNoPicture } from "./stage.js";
import { state } from "./state.js";
import { text } from "./words.js";

const DRAW_MS = 1000; // between two looks at what a job has found so far
const BEYOND_S = 1; // for so long after the last result of a video that was cut off it may still be shown

let jobAtWork = null; // the id of the one that the server works on
let nextFrame = null; // the browser's callback for it, while a video plays
let cutOff = false; // was it cancelled, or did it fail, before its end?
let videoOffset = 0; // the time of a video's first frame, by the browser's clock

// -- the job ------------------------------------------------------------------------------------

export async function analyzeVideo(file, signal) {
  const job = await workedOn(file, signal).catch((error) => {
    if (signal.aborted || ![404, 410].includes(error.status)) throw error;
    showUnderWay(true);
    tellUnderWay("sending");
    return workedOn(file, signal); // a server that was started anew knows nothing of the job
  });
  if (signal.aborted) return;
  showUnderWay(false);
  tellUnderWay(null);
  if (job.error) complain(() => describeFailure(refusedFor(422, job.error)), "run");
  if (!state.rows.length) return;
  cutOff = job.state !== "done";
  if (cutOff && !job.error) { // that it looked at the beginning only is to be seen
    const seconds = Math.max(1, Math.ceil(state.rows.at(-1).time_s));
    complain(() => text("partly")(seconds), "run");
  }
  offerSaving(true);
  await play(file, signal);
}

// The last state of the video's job, whose results are kept by then; null where the page has turned to
// something else. The timeline grows with those that come on the way, and where the rest is cancelled they
// stay.
async function workedOn(file, signal) {
  await checkReadable(file);
  let job = await call("v1/analyze/video", { method: "POST", body: file, signal,
    headers: { "content-type": file.type || "application/octet-stream" } });
  const { id } = job;
  const rows = [];
  let known = 0; // rows that have come
  let [drawn, wait] = [performance.now(), DRAW_MS]; // when they were drawn, and for how long that will do
  const keep = (more) => {
    known += more.length;
    for (const row of more) if (row.frame !== null) rows.push(row);
    if (more.some((row) => row.faces.length)) $("nobody").classList.add("hidden");
  };
  const stop = new AbortController(); // when it is cancelled, and also when the run ends
  signal.addEventListener("abort", () => stop.abort());
  try {
    if (signal.aborted) return null;
    jobAtWork = id;
    state.rows = rows;
    state.growing = true;
    while (job.state === "waiting" || job.state === "running") {
      await pause(300);
      job = await insist(signal, () => call(`v1/jobs/${id}`, { signal: briefly(stop.signal) }));
      if (signal.aborted) return null;
      const { progress, frames } = job;
      tellUnderWay(job.state === "waiting" ? "queued" : "working");
      if (progress) $("progress").value = progress; // 0 where the length is not known
      if (frames) tellCount(() => text("done") + frames);
      const news = job.state === "running" && frames > known;
      if (!news || performance.now() - drawn < wait) continue;
      keep(await insist(signal, () => jobResults(id, stop.signal, known)));
      if (signal.aborted) return null;
      if (rows.length) state.stop = stop;
      const started = performance.now();
      drawTimeline();
      drawn = performance.now();
      wait = Math.max(DRAW_MS, 20 * (drawn - started)); // of hours, it takes its time
    }
    keep(await insist(signal, () => jobResults(id, stop.signal, known || null)));
    return job;
  } catch (error) {
    // Also where all was analysed by then: the rest of its results has not come.
    if (!signal.aborted && stop.signal.aborted) return { ...job, state: "cancelled" };
    if (!signal.aborted) { // of half a video that nobody asked to stop nothing stays
      state.rows = [];
      showNothing();
    }
    throw error;
  } finally {
    forgetJob(id); // whatever happened: another video may be waiting
    if (jobAtWork === id) jobAtWork = null;
    if (!signal.aborted) {
      state.growing = false;
      state.stop = null;
      drawTimeline(); // of all, or of none
    }
  }
}

// The person goes: nobody will ask for its results.
export function leaveJob() {
  if (jobAtWork) forgetJob(jobAtWork);
}

// -- playing ------------------------------------------------------------------------------------

async function play(file, signal) {
  const { rows } = state;
  const video = $("video");
  video.ontimeupdate = () => follow(video);
  // Of the last frame, too, the summary is said.
  video.onpause = () => { if (state.shown) showResult(state.shown); };
  const unseen = () => {
    video.ontimeupdate = video.onpause = null;
    video.pause();
    showMoment(null);
    $("timeline").classList.remove("seekable");
    showNoPicture(rows[0], "unplayable");
  };
  video.onerror = unseen; // AVI, say
  video.onloadedmetadata = () => { if (!video.videoWidth) unseen(); }; // HEVC with sound: that alone plays
  videoOffset = 0;
  if (!document.hidden) {
    const first = video.requestVideoFrameCallback?.((_, { mediaTime }) => {
      if (!signal.aborted) videoOffset = mediaTime - rows[0].time_s;
    });
    // An iPhone shows no frame before it plays: the first may be one that somebody looked for.
    video.onseeking = () => { video.cancelVideoFrameCallback?.(first); };
  }
  video.src = URL.createObjectURL(file);
  putOnStage(video);
  showResult(rows[0]);
  $("save-picture").disabled = false;
  $("timeline").classList.add("seekable");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (!still) await video.play().catch(() => {});
}

// The result of the frame that a playing video shows.
function follow(video) {
  const { rows, live, shown } = state;
  if (live || !rows.length) return;
  const time = video.currentTime - videoOffset;
  showMoment(time);
  if (cutOff) { // of the rest nobody knows anything
    const unknown = time > rows.at(-1).time_s + BEYOND_S;
    $("save-picture").disabled = unknown;
    if (unknown) {
      if (shown) showNothing();
      say("");
      return;
    }
  }
  let [low, high] = [0, rows.length - 1];
  while (low < high) { // the last one that is not later
    const middle = Math.ceil((low + high) / 2);
    if (rows[middle].time_s <= time + 0.02) low = middle;
    else high = middle - 1;
  }
  if (rows[low] !== shown) showResult(rows[low]);
  if (video.paused || nextFrame !== null || !video.requestVideoFrameCallback) return;
  nextFrame = video.requestVideoFrameCallback(() => { nextFrame = null; follow(video); });
}

// Where somebody has clicked on the timeline, so far across, 0..1.
export function seek(share) {
  if ($("timeline").classList.contains("seekable")) $("video").currentTime = momentAt(share) + videoOffset;
}

export function stopFollowing() {
  const video = $("video");
  $("timeline").classList.remove("seekable");
  if (nextFrame !== null) video.cancelVideoFrameCallback(nextFrame);
  nextFrame = video.ontimeupdate = video.onpause = video.onerror = video.onloadedmetadata = null;
  video.onseeking = null;
}
