// Every key, once: what it does and how the help names it.

import { focusView } from "./dom.js";
import * as geometry from "./geometry.js";
import { cancel, held } from "./gestures.js";
import { chooseWindow, openHelp, openSave } from "./panels.js";
import { annotationOf, get, lesionOf, ringsShown, set } from "./store.js";
import * as work from "./work.js";

const FAR = 10;
const GROWTH = 1.1;
const PAN_PX = 40;
const { goTo, send } = work;

/** Selects the selected lesion's neighbour in the list. */
function selectNext(step) {
  const { session, lesion } = get();
  const numbers = session.lesions.map((one) => one.id);
  if (!numbers.length) return;
  const at = numbers.indexOf(lesion);
  const next = at < 0 ? 0 : (at + step + numbers.length) % numbers.length;
  select(numbers[next]);
}

/** Selects a lesion; if it is not on the shown slice, shows the middle one of its slices. */
export function select(number) {
  const lesion = lesionOf(number);
  if (!lesion) return;
  const here = annotationOf(lesion, get().shown);
  set({ lesion: number, ring: here?.rings.at(-1)?.id ?? null });
  if (!here && lesion.slices.length) {
    goTo(lesion.slices[Math.floor(lesion.slices.length / 2)].slice);
  }
  work.wantMeasures();
}

export async function toggleFinished() {
  const lesion = lesionOf(get().lesion);
  if (!lesion) return;
  const told = await send("finish", { lesion: lesion.id, finished: !lesion.finished });
  // The person may have chosen another one meanwhile.
  if (told && !lesion.finished && get().lesion === lesion.id) set({ lesion: null, ring: null });
}

/** Takes the selected lesion off the shown slice. */
function clearSlice() {
  const { lesion, shown } = get();
  if (annotationOf(lesionOf(lesion), shown)) send("clear", { lesion, slice: shown });
}

function zoomBy(factor) {
  const { view, facts, size } = get();
  if (!facts) return;
  const middle = { top: size.height / 2, left: size.width / 2 };
  set({ view: geometry.zoomedAt(view, facts, size, middle, factor) });
}

function pan(left, top) {
  set({ view: geometry.panned(get().view, get().facts, left, top) });
}

function toggleCursor() {
  const { cursor, view, facts } = get();
  focusView();
  set({ cursor: cursor ? null : geometry.inside({ y: view.y, x: view.x }, facts) });
}

/** Moves the crosshair, and the slice where it would leave the canvas. */
function moveCursor(y, x) {
  const { cursor, facts, view, size } = get();
  const moved = geometry.inside({ y: Math.round(cursor.y) + y, x: Math.round(cursor.x) + x }, facts);
  const place = geometry.toScreen(geometry.transformOf(view, facts, size), moved.y, moved.x);
  const margin = (at, length) => Math.min(at, length - at) < PAN_PX;
  const isOut = margin(place.top, size.height) || margin(place.left, size.width);
  set({ cursor: moved, view: isOut ? { ...view, ...moved } : view });
}

function pressCursor() {
  const { cursor, radius, positive } = get();
  work.press({ ...cursor, radius, positive });
}

/** Selects the next disk of the lesion on this slice; the crosshair, if there is one, goes there. */
function nextRing(step) {
  const rings = ringsShown();
  if (!rings.length) return;
  const at = rings.findIndex((ring) => ring.id === get().ring);
  const ring = rings[(at + step + rings.length) % rings.length];
  const cursor = get().cursor ? { y: ring.y, x: ring.x } : null;
  set({ ring: ring.id, cursor, radius: ring.radius });
}

/** Gives the selected disk the crosshair's place, or its radius. */
function changeByCursor(kind) {
  const { cursor, radius } = get();
  const selected = work.selectedRing();
  const ring = ringsShown().find((one) => one.id === selected?.ring);
  if (ring) work.changeRing(kind, { ...ring, ring: ring.id, ...(kind === "move" ? cursor : { radius }) });
}

function turn(slices) {
  goTo(get().slice + slices);
}

function changeOpacity(by) {
  set({ opacity: Math.min(Math.max(get().opacity + by, 0), 1) });
}

function escape() {
  if (!cancel()) set({ cursor: null });
}

const toggle = (key) => () => set({ [key]: !get()[key] });
const ctrl = (key) => ({ key, ctrl: true });
const last = () => get().facts.num_slices - 1;
const ARROWS = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"];
const stepOf = (event) =>
  ({ ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] })[event.key];

function arrow(event) {
  const [y, x] = stepOf(event).map((step) => step * (event.shiftKey ? FAR : 1));
  moveCursor(y, x);
}

function panByArrow(event) {
  const [y, x] = stepOf(event);
  pan(-x * PAN_PX, -y * PAN_PX);
}

const radiusBy = (factor) => () =>
  set({ radius: geometry.radiusWithin(get().radius * factor, get().facts) });

/** Undoes or redoes; a key that is held waits for the answer, and ends where nothing is left. */
const travel = (kind) => (event) => {
  const { working, session } = get();
  if (!event.repeat || (!working && session[`can_${kind}`])) work.travel(kind);
};

// What keys do, by group, in the order of the help. `repeats`: a key that is held goes on; all others
// act once. `cursor`: for the crosshair alone, and before all others while it shows.
const GROUPS = {
  Slices: [
    { keys: ["ArrowUp", "a"], text: "slice before", repeats: true, run: () => turn(-1) },
    { keys: ["ArrowDown", "s"], text: "next slice", repeats: true, run: () => turn(1) },
    { keys: ["PageUp"], text: "ten slices before", repeats: true, run: () => turn(-FAR) },
    { keys: ["PageDown"], text: "ten slices on", repeats: true, run: () => turn(FAR) },
    { keys: ["Home"], text: "first slice", run: () => goTo(0) },
    { keys: ["End"], text: "last slice", run: () => goTo(last()) },
  ],
  View: [
    { keys: ["+", "=", "i"], text: "zoom in", repeats: true, run: () => zoomBy(1.25) },
    { keys: ["-", "u"], text: "zoom out", repeats: true, run: () => zoomBy(0.8) },
    { keys: ARROWS.map(ctrl), text: "pan", repeats: true, run: panByArrow },
    { keys: ["f"], text: "whole slice", run: () => set({ view: geometry.fit(get().facts, get().size) }) },
    { keys: ["0"], text: "window from the slice's own values", run: () => chooseWindow(0) },
    {
      keys: ["1", "2", "3", "4", "5"],
      text: "window of soft tissue, lung, liver, bone, brain",
      run: (event) => chooseWindow(Number(nameOf(event))),
    },
    { keys: ["v"], text: "hide masks and disks, and show them", run: toggle("hidden") },
    { keys: ["o"], text: "outlines alone, and filled", run: toggle("outline") },
    { keys: [","], text: "less opaque", repeats: true, run: () => changeOpacity(-0.1) },
    { keys: ["."], text: "more opaque", repeats: true, run: () => changeOpacity(0.1) },
    { keys: ["m"], text: "diameters on the slice", run: toggle("withMeasures") },
  ],
  Disks: [
    { keys: ["t"], text: "the left button marks background, and lesion again", run: toggle("positive") },
    { keys: ["d"], text: "select the next disk", run: () => nextRing(1) },
    { keys: ["Delete", "Backspace"], text: "remove the selected disk", run: work.deleteRing },
    { keys: ["Escape"], text: "leave a drag without effect", run: escape },
    { keys: [ctrl("z")], text: "undo", repeats: true, run: travel("undo") },
    {
      keys: [ctrl("y"), { key: "z", ctrl: true, shift: true }],
      text: "redo",
      repeats: true,
      run: travel("redo"),
    },
  ],
  Lesions: [
    { keys: ["n"], text: "new lesion", run: work.addLesion },
    { keys: ["x"], text: "take the lesion off this slice", run: clearSlice },
    { keys: ["[", "j"], text: "lesion before", run: () => selectNext(-1) },
    { keys: ["]", "l"], text: "next lesion", run: () => selectNext(1) },
    { keys: ["Enter"], text: "finish the lesion, or open it again", run: toggleFinished },
    { keys: ["p"], text: "carry the mask to the slices above and below", run: work.propagate },
  ],
  "Keyboard alone": [
    { keys: ["k"], text: "crosshair on and off", run: toggleCursor },
    {
      cursor: true,
      keys: ARROWS,
      text: "move the crosshair by a voxel, with Shift by ten",
      repeats: true,
      run: arrow,
    },
    { cursor: true, keys: ["+", "="], text: "greater radius", repeats: true, run: radiusBy(GROWTH) },
    { cursor: true, keys: ["-"], text: "smaller radius", repeats: true, run: radiusBy(1 / GROWTH) },
    { cursor: true, keys: [" "], text: "place the disk", run: pressCursor },
    { cursor: true, keys: ["g"], text: "move the selected disk here", run: () => changeByCursor("move") },
    { cursor: true, keys: ["r"], text: "give it this radius", run: () => changeByCursor("resize") },
  ],
  Files: [
    { keys: [ctrl("s")], text: "save", run: openSave },
    { keys: ["?"], text: "this help", run: openHelp },
  ],
};

export const KEYS = Object.entries(GROUPS).flatMap(([group, rows]) =>
  rows.map((row) => ({ group, ...row })),
);

export const GESTURES = [
  ["press, drag, let go", "a disk: where, and how large"],
  ["click", "a disk of the last radius"],
  ["right button", "background"],
  ["Shift and drag", "a diameter: the disk around its middle"],
  ["drag the dot of a disk", "moves it; a click selects it"],
  ["drag a square on a disk", "resizes it"],
  ["wheel", "slices"],
  ["Ctrl and wheel", "zoom"],
  ["middle button, or Space and drag", "pan"],
  ["W and drag", "window: right is wider, down is darker"],
  ["one finger", "a disk"],
  ["two fingers", "zoom and pan"],
];

/** Returns the name of a key; of letters and digits of other scripts that of the key's place. */
function nameOf({ key, code }) {
  const isLatin = key.length > 1 || /[ -~]/.test(key);
  return (isLatin ? key : code.replace(/^(Key|Digit)/, "")).toLowerCase();
}

// AltGr, which some keyboards need for brackets, counts as Ctrl and Alt.
const isAltGr = (event) => event.getModifierState("AltGraph");

function matches(row, event) {
  const isCtrl = (event.ctrlKey || event.metaKey) && !isAltGr(event);
  return row.keys.some((wanted) => {
    const { key, ctrl: needsCtrl = false, shift } = typeof wanted === "string" ? { key: wanted } : wanted;
    const isShift = shift === undefined ? !(needsCtrl && event.shiftKey) : shift === event.shiftKey;
    return nameOf(event) === key.toLowerCase() && isCtrl === needsCtrl && isShift;
  });
}

// Keys that a control in the page needs for itself.
function isForControl(event) {
  const { target } = event;
  if (document.querySelector("dialog[open]")) return true;
  if (target.matches("select, input[type=text]")) return true;
  // The slider of slices goes the same way by keys as the canvas.
  if (target.matches("#opacity")) return /^(Arrow|Page|Home|End)/.test(event.key);
  return target.matches("button") && ["Enter", " "].includes(event.key);
}

function onKeyDown(event) {
  if (isForControl(event) || (event.altKey && !isAltGr(event))) return;
  const { cursor, facts, opening } = get();
  const fits = KEYS.filter((row) => (cursor || !row.cursor) && matches(row, event));
  const row = fits.find((one) => Boolean(one.cursor) === Boolean(cursor)) ?? fits[0];
  if (row && facts) {
    event.preventDefault();
    if (!opening && (row.repeats || !event.repeat)) row.run(event);
  } else if ([" ", "w"].includes(nameOf(event)) && !event.ctrlKey) {
    event.preventDefault();
    held[event.key === " " ? "pan" : "window"] = true;
  }
}

/** Makes the page take keys. */
export function listenToKeys() {
  addEventListener("keydown", onKeyDown);
  addEventListener("keyup", (event) => {
    if (event.key === " ") held.pan = false;
    if (nameOf(event) === "w") held.window = false;
  });
  addEventListener("blur", () => Object.assign(held, { pan: false, window: false }));
  // A button that was clicked does not keep the keys: Space pans, Enter finishes. Reached by Tab, it does.
  addEventListener("click", ({ detail, target }) => {
    const isWriting = document.activeElement?.matches("input[type=text]");
    if (detail > 0 && !isWriting && target.closest("#bar button, #side button, #thumbnails button, #rail input")) {
      focusView();
    }
  });
}
