// What the page says around the result: what is under way, how far it is, and what is wrong. What may
// have to be said again in another language is kept, as a key or as a function.

import { $, retell, reveal } from "./elements.js";
import { text } from "./words.js";

// What a complaint may be about: what was left out, the run as a whole, what is shown, the evidence that
// was asked for, and the server for now.
const ABOUT = ["left", "run", "shown", "evidence", "server"];

let underWay = null; // the key of the words for what is under way
let count = null; // says how much of it is done
let complaints = {}; // each says what is wrong, by what it is about

// The summary: it takes the place of what was under way.
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
  $("progress").removeAttribute("value"); // nobody knows how long it takes to send
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

// In the language of the moment.
export function sayAgain() {
  if (underWay) tellUnderWay(underWay);
  tellCount(count);
  tellComplaints();
}
