// The page's elements, and how they change without a screen reader or the keyboard losing its place.

export const $ = (id) => document.getElementById(id);

// A screen reader may read the same words again where they are only set again.
export function retell(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

export function reveal(id, yes) {
  // The keyboard must not stay on a button that goes.
  if (!yes && $(id).contains(document.activeElement)) $("choose").focus();
  $(id).classList.toggle("hidden", !yes);
}
