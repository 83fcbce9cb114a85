// Access to the page's elements, and changes to them that do not make a screen reader or the keyboard lose its place.

export const $ = (id) => document.getElementById(id);

// Sets an element's text only if it differs: a screen reader may read a text again when it is set again.
export function retell(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

export function reveal(id, yes) {
  // The keyboard's focus must not stay on an element that disappears.
  if (!yes && $(id).contains(document.activeElement)) $("choose").focus();
  $(id).classList.toggle("hidden", !yes);
}
