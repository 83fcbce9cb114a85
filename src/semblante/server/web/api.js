// Requests to the server: sending them, repeating them while it is away, and explaining its refusals.

import { complain, withdraw } from "./messages.js";
import { reason, text } from "./words.js";

export const RETRY_MS = 1000; // between one attempt and the next
const ANSWERED_MS = 10_000; // within which the server tells a job's state
const ITS_OWN = [400, 413, 422]; // statuses that mean that the file itself is the problem
const OF_ONE = [...ITS_OWN, 408, 500, 504]; // that concern one picture of several: the others may still be analysed

const given = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
const token = /^[\w.~-]+$/.test(given) ? given : null; // other characters are not allowed in every header
const headers = token ? { authorization: `Bearer ${token}` } : {};

export const retrying = () => text("retry");
export const busy = () => text("busy");
export const elsewhere = () => text("elsewhere");
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// -- requests ---------------------------------------------------------------------------------

export async function call(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  const body = await read(answer);
  if (!answer.ok && !body.results) throw refusedFor(answer.status, body.error ?? answer.statusText);
  return body;
}

async function read(answer) {
  return answer.json().catch((error) => {
    if (!(error instanceof SyntaxError)) throw error;
    if (answer.ok) throw fromElsewhere(answer.status);
    return {}; // a proxy's words on what is wrong, say
  });
}

// All results of a job, which must have ended; or, with `first`, those from that number on so far, also of a job that
// is still running.
export async function jobResults(id, signal, first = null) {
  const from = first === null ? "" : `?from=${first}`;
  const answer = await fetch(`v1/jobs/${id}/results${from}`, { headers, signal });
  if (!answer.ok) throw refusedFor(answer.status, (await read(answer)).error ?? answer.statusText);
  const lines = (await answer.text()).trim();
  try {
    return lines ? lines.split("\n").map((line) => JSON.parse(line)) : [];
  } catch {
    throw fromElsewhere(answer.status);
  }
}

// `keepalive`: the request is sent even while the page is being closed.
export function forgetJob(id) {
  fetch(`v1/jobs/${id}`, { method: "DELETE", headers, keepalive: true }).catch(() => {});
}

export function openStream() {
  const address = new URL("v1/stream", document.baseURI);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(address, token ? ["semblante", token] : ["semblante"]);
}

// Whether the server answers at all.
export const isUp = () => fetch("healthz", { signal: AbortSignal.timeout(RETRY_MS) })
  .then((answer) => answer.ok, () => false);

// A signal for a request that the server answers at once: it aborts when `signal` does, or after ten seconds
// (if the browser can combine signals).
export const briefly = (signal) => AbortSignal.any?.([signal, AbortSignal.timeout(ANSWERED_MS)]) ?? signal;

// Whether the server, or a proxy before it, has too much to do.
export const isBusy = (error) => [429, 503].includes(error.status);
// Whether the server cannot be reached or is too busy; a proxy may be the one that says so.
export const isAway = (error) =>
  error instanceof TypeError || error.name === "TimeoutError" || isBusy(error) || [502, 504].includes(error.status);

// Repeats a request until the server is reached, so that a short interruption does not cost a whole video. Once
// the run's `signal` is aborted, it stops asking and no longer changes what the page says.
export async function insist(signal, ask, again = isAway) {
  let wasBusy = false;
  try {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (signal.aborted || !again(error)) throw error;
        // A server that is busy now and then, while many pictures are sent, is not worth a word each time.
        if (wasBusy || !isBusy(error)) complain(isBusy(error) ? busy : retrying, "server");
        wasBusy = isBusy(error);
      }
      await pause(RETRY_MS);
    }
  } finally {
    if (!signal.aborted) withdraw("server");
  }
}

// Throws an error if it is no use to send the file: one marked `unreadable` if the browser cannot read it (a folder,
// for example, or a file that has been deleted), since sending it would fail as if the server could not be reached; and
// what the server would answer if the file is larger than `limit`, the name of a limit that the server wrote into the
// page.
export async function checkSendable(file, limit) {
  const unread = () => { throw Object.assign(new Error("unreadable"), { unreadable: true }); };
  await file.slice(0, 1).arrayBuffer().catch(unread);
  const most = Number(document.querySelector(`meta[name=${limit}]`).content); // bytes
  if (file.size > most) throw refusedFor(413, `at most ${Math.floor(most / 1_000_000)} MB in a request`);
}

// -- refusals ---------------------------------------------------------------------------------

// An error with the server's own words, and a function that returns them in the current language.
export function refusedFor(status, words) {
  const said = words || `HTTP ${status}`; // over HTTP/2 a status has no text
  return Object.assign(new Error(said), { status, translated: () => reason(status, said) });
}

// An error for an answer that semblante does not give: a proxy's page where one signs in, for example.
const fromElsewhere = (status) => Object.assign(new Error("not semblante's answer"), { status, translated: elsewhere });

// Why a picture or a video was not analysed, in the current language.
export function describeFailure(error) {
  if (error.unreadable) return text("nofile");
  if (error.translated === elsewhere) return elsewhere();
  if (error instanceof TypeError || error.name === "TimeoutError") return text("lost");
  // Is the file itself the problem, or the server and its limits?
  const start = ITS_OWN.includes(error.status ?? 422) ? text("unread") : text("refusal");
  return start + (error.translated?.() ?? error.message);
}

// Whether an error concerns only this picture, so that the others of an album can still be analysed.
export const isOfOnePicture = (error) => error.unreadable || OF_ONE.includes(error.status);
