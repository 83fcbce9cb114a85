// The page's messages: what is under way, how far it is, and what is wrong. They are kept as keys or functions, not
// as texts, so that they can be shown again in another language.

import { $, retell, reveal } from "./elements.js";
import { text } from "./words.js";

// What a complaint may be about, in the order in which they are shown: files that were left out, the run as a whole,
// what is shown, the requested evidence, and the present states of the camera and of the server.
const ABOUT = ["left", "run", "shown", "evidence", "camera", "server"];

let underWay = null; // the key of the text that says what is under way
let count = null; // a function that says how much of it is done
let complaints = {}; // functions that say what is wrong, by what it is about

// Sets the summary, in place of the text that says what is under way.
export function say(words) {
  underWay = null;
  retell($("summary"), words);
}

export function tellUnderWay(key) {
  say(key ? text(key) : "");
  underWay = key;
}

export function showUnderWay(yes) {
  reveal("under-way", yes);
  $("progress").removeAttribute("value"); // how long sending takes is not known
  $("progress").setAttribute("aria-labelledby", "summary");
  tellCount(null);
}

export function tellCount(words) {
  count = words;
  retell($("frames"), count?.() ?? "");
}

export function complain(words, about = "shown") {
  complaints[about] = words;
  tellComplaints();
}

export const withdraw = (about) => complain(null, about);

export function withdrawAll() {
  complaints = {};
  tellComplaints();
}

function tellComplaints() {
  retell($("error"), ABOUT.map((about) => complaints[about]?.()).filter(Boolean).join(" "));
}

// Shows all messages again, in the current language.
export function sayAgain() {
  if (underWay) tellUnderWay(underWay);
  tellCount(count);
  tellComplaints();
}
