// Access to the page's elements, and changes to them that do not make a screen reader or the keyboard lose its place.

export const $ = (id) => document.getElementById(id);

// Sets an element's text only if it differs: a screen reader may read a text again when it is set again.
export function retell(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

// Shows or hides an element.
export function reveal(id, yes) {
  if (!yes) moveFocusFrom($(id));
  $(id).classList.toggle("hidden", !yes);
}

// Enables or disables a button.
export function enable(id, yes) {
  if (!yes) moveFocusFrom($(id));
  $(id).disabled = !yes;
}

// A hidden or disabled element loses the keyboard's focus, and a keyboard or a screen reader would start again at the
// top of the page. The focus goes to a button that is always there; the page stays where it is, since whoever uses a
// mouse or a finger would lose their place.
function moveFocusFrom(element) {
  if (element.contains(document.activeElement)) $("choose").focus({ preventScroll: true });
}
