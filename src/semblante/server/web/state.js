// What the page shows and works on, as far as several modules share it. `begin` in run.js clears it.

export const state = {
  rows: [], // results, as the API gives them
  growing: false, // whether more of a video's come
  shown: null, // the result on the page
  shownStill: null, // the picture on the page: its file, its result, and what was asked of its faces
  requestedStill: null, // the one that is to be shown, as soon as it has been read
  album: null, // several pictures: those that have been analysed so far, and what stops the rest
  stop: null, // ends what is under way, of which what was found stays; null where nothing was yet
  live: null, // the camera at work
};
