// What the page shows at one moment, and who wants to know when it changes.

const START = {
  documents: [],
  formats: [],
  readOnly: false,
  facts: null, // of the open volume; null while none is open
  session: { version: 0, lesions: [], can_undo: false, can_redo: false, remarks: [] },
  slice: 0, // asked for
  shown: 0, // on the canvas: the last one asked for that has arrived
  lesion: null, // number of the selected lesion
  ring: null, // number of the selected disk
  view: null, // zoom and middle, see geometry.js
  // Of the canvas, CSS pixels; unit: how much larger than usual letters and handles are.
  size: { width: 1, height: 1, unit: 1 },
  window: { low: -150, high: 250, name: "auto" },
  hidden: false,
  outline: false,
  opacity: 0.35,
  positive: true, // what the left button marks
  radius: 8, // of a click that is not dragged, display pixels
  drag: null, // what is being dragged: { kind, y, x, radius, positive, … }
  pending: [], // disks that were let go of and that the server has not confirmed yet
  cursor: null, // the keyboard's crosshair, a place
  hover: null, // the place under the pointer
  working: 0, // events that the server has not answered yet
  opening: "", // while a volume opens, in words: nothing can be changed
  task: "", // long work that is going on, in words
  ms: null, // of the last answer
  measures: new Map(), // of lesions by number, see `measuresOf`
  withMeasures: true,
};

let state = START;
let isScheduled = false;
const listeners = [];

export const get = () => state;

/** Changes some keys and tells the listeners, once per frame. */
export function set(change) {
  state = { ...state, ...change };
  redraw();
}

/** Asks for a frame, where something other than the state has changed. */
export function redraw() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(() => {
    isScheduled = false;
    for (const listener of listeners) listener(state);
  });
}

export function listen(listener) {
  listeners.push(listener);
}

/** Returns a lesion by its number; undefined if there is none. */
export const lesionOf = (number, from = state) =>
  from.session.lesions.find((lesion) => lesion.id === number);

/** Returns what a lesion has on a slice; undefined for nothing. */
export const annotationOf = (lesion, slice) => lesion?.slices.find((s) => s.slice === slice);

/** Returns what is known of a lesion's size, as long as nothing has changed since; else null. */
export function measuresOf(number, from = state) {
  const told = from.measures.get(number);
  if (!told || told.version !== from.session.version) return null;
  return { lesion: told.lesion, slice: told.slice?.slice === from.shown ? told.slice : null };
}

/** Returns the disks of the selected lesion on the shown slice. */
export const ringsShown = (from = state) =>
  annotationOf(lesionOf(from.lesion, from), from.shown)?.rings ?? [];
