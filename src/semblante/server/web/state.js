// The state that several modules share: what the page shows and works on. `begin` in run.js clears it.

export const state = {
  rows: [], // results, as the API gives them
  growing: false, // whether more results of a video are still to come
  shown: null, // the result on the page
  shownStill: null, // the picture on the page: see `asStill` in pictures.js
  requestedStill: null, // the picture to be shown as soon as the browser has read it
  album: null, // of several pictures: those analysed so far, and an AbortController that stops the rest
  stop: null, // an AbortController that ends the work and keeps the results so far; null while there are none
  live: null, // the camera, while it is on: see `startCamera` in camera.js
};
