// Videos: the server analyses one as a job; then it plays, and each frame is shown with its result.

import { briefly, call, checkSendable, describeFailure, forgetJob, insist, jobResults, pause, refusedFor } from "./api.js";
import { $, enable } from "./elements.js";
import { complain, say, showUnderWay, tellCount, tellUnderWay } from "./messages.js";
import { drawTimeline, momentAt, offerSaving, showMoment, showNothing, showResult } from "./results.js";
import { putOnStage, showNoPicture } from "./stage.js";
import { state } from "./state.js";
import { text } from "./words.js";

const DRAW_MS = 1000; // least time between two requests for a job's results so far
const LOADED_MS = 500; // within which browsers that load a video's first frame by themselves have it
const BEYOND_S = 1; // how long the last result of a video that was cut off stays shown

let jobAtWork = null; // the id of the job that the server works on
let nextFrame = null; // the handle of the callback for the next frame of a playing video
let cutOff = false; // whether the analysis was cancelled, or failed, before the video's end
let videoOffset = 0; // seconds that the browser's time of the first frame is ahead of the server's

// -- the job ------------------------------------------------------------------------------------

export async function analyzeVideo(file, signal) {
  const sent = await send(file, signal);
  const job = await workedOn(sent, signal).catch(async (error) => {
    if (signal.aborted || ![404, 410].includes(error.status)) throw error;
    showUnderWay(true);
    tellUnderWay("sending");
    // A server that was restarted, or dropped the job, no longer has it.
    return workedOn(await send(file, signal), signal);
  });
  if (signal.aborted) return;
  showUnderWay(false);
  tellUnderWay(null);
  if (job.error) complain(() => describeFailure(refusedFor(422, job.error)), "run");
  if (!state.rows.length) return;
  cutOff = job.state !== "done";
  if (cutOff && !job.error) { // say that only the beginning was analysed
    const seconds = Math.max(1, Math.ceil(state.rows.at(-1).time_s));
    complain(() => text("partly")(seconds), "run");
  }
  offerSaving(true);
  await play(file, signal);
}

// Sends a video. Returns its job.
async function send(file, signal) {
  await checkSendable(file, "max-video");
  return call("v1/analyze/video", { method: "POST", body: file, signal,
    headers: { "content-type": file.type || "application/octet-stream" } });
}

// Follows a job and decides what its ending means. Returns its last state, with the results in `state.rows`: those so
// far if the user cancels. Throws if a request for it fails, or another run begins.
async function workedOn(job, signal) {
  const rows = [];
  const stop = new AbortController(); // aborted if the user cancels, and when the run ends
  signal.addEventListener("abort", () => stop.abort());
  try {
    signal.throwIfAborted();
    jobAtWork = job.id;
    state.rows = rows;
    state.growing = true;
    return await followJob(job, rows, stop, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    // The user cancelled. Also if the job was done by then: not all of its results have been fetched.
    if (stop.signal.aborted) return { state: "cancelled", error: null };
    state.rows = []; // it failed: partial results stay only if the user cancelled
    showNothing();
    throw error;
  } finally {
    forgetJob(job.id); // in any case: another video may be waiting
    if (jobAtWork === job.id) jobAtWork = null;
    if (!signal.aborted) {
      state.growing = false;
      state.stop = null;
      drawTimeline(); // with all results, or none
    }
  }
}

// Asks how far a job is until it has ended, and adds its results to `rows`; the timeline grows with those that come
// meanwhile. Returns the job's last state. Throws if `stop` is aborted.
async function followJob(job, rows, stop, signal) {
  const { id } = job;
  let known = 0; // rows received so far, including those without a frame
  let [drawn, wait] = [performance.now(), DRAW_MS]; // when the timeline was drawn, and how long until the next time
  const fetchRows = async (first) => {
    const more = await insist(signal, () => jobResults(id, stop.signal, first));
    stop.signal.throwIfAborted();
    known += more.length;
    for (const row of more) if (row.frame !== null) rows.push(row);
    if (more.some((row) => row.faces.length)) $("nobody").classList.add("hidden");
  };
  while (job.state === "waiting" || job.state === "running") {
    await pause(300);
    job = await insist(signal, () => call(`v1/jobs/${id}`, { signal: briefly(stop.signal) }));
    stop.signal.throwIfAborted();
    const { progress, frames } = job;
    tellUnderWay(job.state === "waiting" ? "queued" : "working");
    if (progress) $("progress").value = progress; // 0 where the length is not known
    if (frames) tellCount(() => text("done") + frames);
    const news = job.state === "running" && frames > known;
    if (!news || performance.now() - drawn < wait) continue;
    await fetchRows(known);
    if (rows.length) state.stop = stop;
    const started = performance.now();
    drawTimeline();
    drawn = performance.now();
    wait = Math.max(DRAW_MS, 20 * (drawn - started)); // drawing hours of video takes long
  }
  await fetchRows(known || null);
  return job;
}

// When the user leaves the page: nobody will fetch the job's results.
export function leaveJob() {
  if (jobAtWork) forgetJob(jobAtWork);
}

// -- playing ------------------------------------------------------------------------------------

async function play(file, signal) {
  const { rows } = state;
  const video = $("video");
  video.ontimeupdate = () => follow(video);
  // While paused, and at the end, the summary must match the frame.
  video.onpause = () => { if (state.shown) showResult(state.shown); };
  const unseen = () => {
    video.ontimeupdate = video.onpause = video.onloadeddata = null;
    video.pause();
    showMoment(null);
    $("timeline").classList.remove("seekable");
    showNoPicture(rows[0], "unplayable");
  };
  video.onerror = unseen; // AVI, for example
  video.onloadedmetadata = () => { if (!video.videoWidth) unseen(); }; // HEVC with sound: only the sound plays
  video.onloadeddata = () => enable("save-picture", true); // before, there is no frame to be saved
  videoOffset = 0;
  if (!document.hidden) {
    const first = video.requestVideoFrameCallback?.((_, { mediaTime }) => {
      if (!signal.aborted) videoOffset = mediaTime - rows[0].time_s;
    });
    // An iPhone shows no frame before it plays: after a seek, the first one shown is not the video's first.
    video.onseeking = () => { video.cancelVideoFrameCallback?.(first); };
  }
  video.src = URL.createObjectURL(file);
  putOnStage(video);
  showResult(rows[0]);
  $("timeline").classList.add("seekable");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (!still) await video.play().catch(() => {});
  await pause(LOADED_MS);
  // An iPhone loads no frame of a video that nobody plays (or, in low power mode, may play), unless one is sought.
  const bare = video.readyState === HTMLMediaElement.HAVE_METADATA && video.currentTime === 0;
  if (!signal.aborted && video.paused && bare) {
    video.onseeking = null; // the frame shown next is the video's first
    video.currentTime = 0.001;
  }
}

// Shows the result of the video's current frame, and of those that follow while it plays.
function follow(video) {
  const { rows, shown } = state;
  const time = video.currentTime - videoOffset;
  showMoment(time);
  if (cutOff) { // nothing is known about the rest of the video
    const unknown = time > rows.at(-1).time_s + BEYOND_S;
    enable("save-picture", !unknown);
    if (unknown) {
      if (shown) showNothing("unlooked");
      say("");
      return;
    }
  }
  let [low, high] = [0, rows.length - 1];
  while (low < high) { // binary search for the last result that is not later
    const middle = Math.ceil((low + high) / 2);
    if (rows[middle].time_s <= time + 0.02) low = middle;
    else high = middle - 1;
  }
  if (rows[low] !== shown) showResult(rows[low]);
  if (video.paused || nextFrame !== null || !video.requestVideoFrameCallback) return;
  nextFrame = video.requestVideoFrameCallback(() => { nextFrame = null; follow(video); });
}

// Moves the video to a place on the timeline: `share` is its distance from the left, 0..1.
export function seek(share) {
  if ($("timeline").classList.contains("seekable")) $("video").currentTime = momentAt(share) + videoOffset;
}

export function stopFollowing() {
  const video = $("video");
  $("timeline").classList.remove("seekable");
  if (nextFrame !== null) video.cancelVideoFrameCallback(nextFrame);
  nextFrame = video.ontimeupdate = video.onpause = video.onerror = video.onloadedmetadata = null;
  video.onseeking = video.onloadeddata = null;
}
