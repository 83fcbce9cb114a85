// The server: how it is asked, asked again, and what its refusals mean.

import { complain, withdraw } from "./messages.js";
import { reason, text } from "./words.js";

export const RETRY_MS = 1000; // before the server is asked again
const ANSWERED_MS = 10_000; // by when a job's state is told
const ITS_OWN = [400, 413, 422]; // statuses that say something of the file
const OF_ONE = [...ITS_OWN, 408, 500, 504]; // of one picture of several: the others may do better

const given = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
const token = /^[\w.~-]+$/.test(given) ? given : null; // no other stands in a header everywhere
const headers = token ? { authorization: `Bearer ${token}` } : {};

export const retrying = () => text("retry");
export const busy = () => text("busy");
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// -- asking -----------------------------------------------------------------------------------

export async function call(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  const body = await read(answer);
  if (!answer.ok && !body.results) throw refusedFor(answer.status, body.error ?? answer.statusText);
  return body;
}

async function read(answer) {
  return answer.json().catch((error) => {
    if (error instanceof SyntaxError) return {}; // a proxy's page, say
    throw error;
  });
}

// All results of a job that has ended; those from the `first` on that are there, of any.
export async function jobResults(id, signal, first = null) {
  const from = first === null ? "" : `?from=${first}`;
  const answer = await fetch(`v1/jobs/${id}/results${from}`, { headers, signal });
  if (!answer.ok) throw refusedFor(answer.status, (await read(answer)).error ?? answer.statusText);
  const lines = (await answer.text()).trim();
  return lines ? lines.split("\n").map((line) => JSON.parse(line)) : [];
}

// Also while the page goes away.
export function forgetJob(id) {
  fetch(`v1/jobs/${id}`, { method: "DELETE", headers, keepalive: true }).catch(() => {});
}

export function openStream() {
  const address = new URL("v1/stream", document.baseURI);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(address, token ? ["semblante", token] : ["semblante"]);
}

// Does it answer at all?
export const isUp = () => fetch("healthz", { signal: AbortSignal.timeout(RETRY_MS) })
  .then((answer) => answer.ok, () => false);

// A signal for a question that is answered at once: it aborts as `signal` does, and after ten seconds (where the
// browser can combine signals).
export const briefly = (signal) => AbortSignal.any?.([signal, AbortSignal.timeout(ANSWERED_MS)]) ?? signal;

// Nobody is there, or too much to do, perhaps by a proxy's word.
export const isAway = (error) =>
  error instanceof TypeError || error.name === "TimeoutError" || [502, 503, 504].includes(error.status);

// Asks until the server is reached: that it is away for a moment must not cost a whole video. Once the
// run's `signal` is aborted it asks no more, nor changes what the page says.
export async function insist(signal, ask, again = isAway) {
  try {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (signal.aborted || !again(error)) throw error;
        complain(error.status === 503 ? busy : retrying, "server");
      }
      await pause(RETRY_MS);
    }
  } finally {
    if (!signal.aborted) withdraw("server");
  }
}

// A folder, say, or a file that was deleted since, looks as if the server could not be reached.
export async function checkReadable(file) {
  const unread = () => { throw Object.assign(new Error("unreadable"), { unreadable: true }); };
  await file.slice(0, 1).arrayBuffer().catch(unread);
}

// -- refusals ---------------------------------------------------------------------------------

// An error with the server's own words, and a function that puts them in the language of the moment.
export function refusedFor(status, words) {
  const said = words || `HTTP ${status}`; // over HTTP/2 a status has no words
  return Object.assign(new Error(said), { status, translated: () => reason(status, said) });
}

// Why a picture or a video was not analysed, in the language of the moment.
export function describeFailure(error) {
  if (error.unreadable) return text("nofile");
  if (error instanceof TypeError || error.name === "TimeoutError") return text("lost");
  // Of the picture or video itself, or of the server and its limits?
  const start = ITS_OWN.includes(error.status ?? 422) ? text("unread") : text("refusal");
  return start + (error.translated?.() ?? error.message);
}

// Does it keep only this one of several pictures from being analysed?
export const isOfOnePicture = (error) => error.unreadable || OF_ONE.includes(error.status);
