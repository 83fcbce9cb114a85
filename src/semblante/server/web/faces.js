// The list of faces beside the picture: for each a bar for each emotion, and, on request, the evidence for the most
// probable one.

import { call, checkSendable, describeFailure } from "./api.js";
import { $, retell, reveal } from "./elements.js";
import { complain, withdraw } from "./messages.js";
import { numberOf, paintEvidence } from "./painting.js";
import { state } from "./state.js";
import { EMOTIONS, name, percent, text } from "./words.js";

const LISTED = 6; // faces with bars, unless the user asks for all; the summary names the emotion of each face

let all = false; // whether the user asked for all

// Existing elements are reused: this is called many times a second, and replacing them would make a screen reader or
// a selection lose its place. `focused`: the number of a face whose title gets the keyboard's focus.
export function showBars(faces, focused = null) {
  const bars = $("bars");
  if (faces.length <= LISTED) all = false;
  const listed = all ? faces : faces.slice(0, LISTED);
  while (bars.children.length > listed.length) bars.lastChild.remove();
  listed.forEach((face, number) => {
    const block = bars.children[number] ?? bars.appendChild(newBlock(number));
    const [title, evidence, ...bar] = [block.firstChild, block.lastChild, ...block.querySelectorAll(".bar")];
    retell(title, `${text("face")} ${numberOf(face, number)}`);
    EMOTIONS.forEach((emotion, place) => {
      const p = face.probabilities[emotion];
      const [label, meter, value] = bar[place].children;
      bar[place].classList.toggle("first", emotion === face.emotion);
      retell(label, name(emotion));
      meter.value = p;
      retell(value, percent(p));
    });
    showEvidence(evidence, number);
  });
  const left = faces.length - listed.length;
  if (left) retell($("rest"), text("more")(left));
  if (focused !== null) Object.assign($(`face-${focused}`), { tabIndex: -1 }).focus(); // before its button hides
  reveal("rest", left > 0);
}

export function showAllBars() {
  all = true;
  showBars(state.shown.faces, LISTED);
}

// The elements for one face: a title, a bar for each emotion, and the evidence for the most probable one.
function newBlock(number) {
  const block = document.createElement("div");
  block.className = "face";
  const title = Object.assign(document.createElement("h3"), { id: `face-${number}` });
  const list = Object.assign(document.createElement("ul"), { className: "emotions", role: "list" });
  list.append(...EMOTIONS.map(() => {
    const bar = Object.assign(document.createElement("li"), { className: "bar" });
    bar.append(...["span", "meter", "span"].map((kind) => document.createElement(kind)));
    bar.children[1].ariaHidden = "true"; // the text beside it says the same
    return bar;
  }));
  block.append(title, list, newEvidence(number));
  return block;
}

// -- evidence -----------------------------------------------------------------------------------

// The elements for a face's evidence: a button that asks for it, a picture of it, and a list that says it in words.
function newEvidence(number) {
  const evidence = document.createElement("div");
  evidence.className = "evidence";
  const [button, canvas, list] = ["button", "canvas", "ul"].map((kind) => document.createElement(kind));
  button.type = "button";
  button.id = `evidence-${number}`;
  button.setAttribute("aria-labelledby", `evidence-${number} face-${number}`); // all these buttons have the same text
  button.onclick = () => askForEvidence(number);
  canvas.role = "img";
  list.role = "list"; // Safari does not call a list without bullets a list
  evidence.append(button, canvas, list);
  return evidence;
}

function showEvidence(evidence, number) {
  const [button, canvas, list] = evidence.children;
  const still = state.shownStill;
  const found = still?.explained.get(number);
  evidence.classList.toggle("hidden", !still); // not for a camera or a video, which move on too fast
  evidence.classList.toggle("open", Boolean(found));
  button.ariaDisabled = still?.pending.has(number) ? "true" : null; // `disabled` would take the focus away
  retell(button, text(found ? "hide" : "explain"));
  if (!found) return;
  paintEvidence(canvas, found);
  canvas.ariaLabel = text("evidence")(name(found.explained));
  list.replaceChildren(...[canvas.ariaLabel, ...Object.entries(found.without).map(([part, left]) => {
    const [emotion, p] = Object.entries(left).reduce((best, one) => (one[1] > best[1] ? one : best));
    return `${text("without")[part]}: ${name(emotion)} ${percent(p)}`;
  })].map((words) => Object.assign(document.createElement("li"), { textContent: words })));
}

// Fetches and shows the evidence for a face's estimate; if it is shown already, hides it.
async function askForEvidence(number) {
  const asked = state.shownStill;
  if (asked.pending.has(number)) return;
  const aloud = (key) => retell($("aloud"), key ? `${$(`face-${number}`).textContent}: ${text(key)}` : "");
  if (asked.explained.delete(number)) {
    aloud(null);
    showBars(state.shown.faces);
    return;
  }
  asked.pending.add(number);
  aloud("explaining");
  showBars(state.shown.faces);
  try {
    await checkSendable(asked.file, "max-body");
    const found = await call(`v1/explain?face=${number + 1}`,
      { method: "POST", body: asked.file, signal: asked.signal });
    asked.explained.set(number, found); // kept even if another picture is shown by now: this one may be shown again
    if (state.shownStill !== asked || state.requestedStill !== asked) return;
    withdraw("evidence");
    aloud("explained");
  } catch (error) {
    const refusal = error.translated ? () => text("refusal") + error.translated() : () => describeFailure(error);
    if (state.shownStill !== asked || state.requestedStill !== asked) return;
    complain(refusal, "evidence");
    aloud(null);
  } finally {
    asked.pending.delete(number);
    if (state.shownStill === asked) showBars(state.shown.faces);
  }
}
