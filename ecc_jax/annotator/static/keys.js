// Every key, once: what it does and how the help names it.

import * as geometry from "./geometry.js";
import { cancel, held } from "./gestures.js";
import { drawWindow, openHelp, openSave } from "./panels.js";
import { get, lesionOf, set } from "./store.js";
import { addLesion, goTo, press, propagate, selectedRing, send, wantMeasures } from "./work.js";

const FAR = 10;
const GROWTH = 1.1;

/** Steps to the selected lesion's neighbour in the list, and to its first slice. */
export function selectNext(step) {
  const { session, lesion } = get();
  const numbers = session.lesions.map((one) => one.id);
  if (!numbers.length) return;
  const at = numbers.indexOf(lesion);
  const next = at < 0 ? 0 : (at + step + numbers.length) % numbers.length;
  select(numbers[next]);
}

/** Selects a lesion and shows a slice of it. */
export function select(number) {
  const lesion = lesionOf(number);
  if (!lesion) return;
  const here = lesion.slices.find((s) => s.slice === get().shown);
  set({ lesion: number, ring: here?.rings.at(-1)?.id ?? null });
  if (!here && lesion.slices.length) {
    goTo(lesion.slices[Math.floor(lesion.slices.length / 2)].slice);
  }
  wantMeasures();
}

export async function toggleFinished() {
  const lesion = lesionOf(get().lesion);
  if (!lesion) return;
  const told = await send("finish", { lesion: lesion.id, finished: !lesion.finished });
  if (told && !lesion.finished) set({ lesion: null, ring: null });
}

/** Undoes or redoes, and shows where. */
export async function travel(kind) {
  const told = await send(kind);
  const slices = told?.changed.map(([, slice]) => slice) ?? [];
  if (slices.length && !slices.includes(get().shown)) goTo(slices[0]);
}

/** Takes the selected lesion off the shown slice. */
function clearSlice() {
  const { lesion, shown } = get();
  if (lesionOf(lesion)?.slices.some((s) => s.slice === shown)) send("clear", { lesion, slice: shown });
}

export function deleteRing() {
  const ring = selectedRing();
  if (ring) send("delete", ring);
}

export function zoomBy(factor) {
  const { view, facts, size } = get();
  if (!facts) return;
  const middle = { top: size.height / 2, left: size.width / 2 };
  set({ view: geometry.zoomedAt(view, facts, size, middle, factor) });
}

function toggleCursor() {
  const { cursor, view, facts } = get();
  if (facts) set({ cursor: cursor ? null : geometry.inside({ y: view.y, x: view.x }, facts) });
}

function moveCursor(y, x) {
  const { cursor, facts } = get();
  const moved = { y: Math.round(cursor.y) + y, x: Math.round(cursor.x) + x };
  set({ cursor: geometry.inside(moved, facts) });
}

function pressCursor() {
  const { cursor, radius, positive } = get();
  press({ ...cursor, radius, positive });
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

// keys -> what they do. `cursor` rows are for the keyboard's crosshair, and come first while it shows.
export const KEYS = [
  { group: "Keyboard alone", keys: ["k"], text: "crosshair on and off", run: toggleCursor },
  { cursor: true, group: "Keyboard alone", keys: ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"], text: "move the crosshair by a voxel, with Shift by ten", run: (event) => {
      const by = event.shiftKey ? FAR : 1;
      const [y, x] = { ArrowUp: [-by, 0], ArrowDown: [by, 0], ArrowLeft: [0, -by], ArrowRight: [0, by] }[event.key];
      moveCursor(y, x);
    } },
  { cursor: true, group: "Keyboard alone", keys: ["+", "="], text: "greater radius", run: () => set({ radius: get().radius * GROWTH }) },
  { cursor: true, group: "Keyboard alone", keys: ["-"], text: "smaller radius", run: () => set({ radius: Math.max(get().radius / GROWTH, 0.5) }) },
  { cursor: true, group: "Keyboard alone", keys: [" "], text: "place the disk", run: pressCursor },
  { group: "Slices", keys: ["ArrowUp"], text: "slice before", run: () => turn(-1) },
  { group: "Slices", keys: ["ArrowDown"], text: "next slice", run: () => turn(1) },
  { group: "Slices", keys: ["PageUp", "PageDown"], text: "ten slices", run: (event) => turn(event.key === "PageUp" ? -FAR : FAR) },
  { group: "Slices", keys: ["Home"], text: "first slice", run: () => goTo(0) },
  { group: "Slices", keys: ["End"], text: "last slice", run: () => goTo(last()) },
  { group: "View", keys: ["+", "="], text: "zoom in", run: () => zoomBy(1.25) },
  { group: "View", keys: ["-"], text: "zoom out", run: () => zoomBy(0.8) },
  { group: "View", keys: ["f"], text: "whole slice", run: () => set({ view: geometry.fit(get().facts, get().size) }) },
  { group: "View", keys: ["0"], text: "window from the slice's own values", run: () => drawWindow(0) },
  { group: "View", keys: ["1", "2", "3", "4", "5"], text: "window of soft tissue, lung, liver, bone, brain", run: (event) => drawWindow(Number(event.key)) },
  { group: "View", keys: ["v"], text: "hide masks and disks, and show them", run: toggle("hidden") },
  { group: "View", keys: ["o"], text: "outlines alone, and filled", run: toggle("outline") },
  { group: "View", keys: [",", "."], text: "less, more opaque", run: (event) => changeOpacity(event.key === "," ? -0.1 : 0.1) },
  { group: "View", keys: ["m"], text: "diameters on the slice", run: toggle("withMeasures") },
  { group: "Disks", keys: ["t"], text: "the left button marks background, and lesion again", run: toggle("positive") },
  { group: "Disks", keys: ["Delete", "Backspace"], text: "remove the selected disk", run: deleteRing },
  { group: "Disks", keys: ["Escape"], text: "leave a drag without effect", run: escape },
  { group: "Disks", keys: [ctrl("z")], text: "undo", run: () => travel("undo") },
  { group: "Disks", keys: [ctrl("y"), { key: "z", ctrl: true, shift: true }], text: "redo", run: () => travel("redo") },
  { group: "Lesions", keys: ["n"], text: "new lesion", run: addLesion },
  { group: "Lesions", keys: ["x"], text: "take the lesion off this slice", run: clearSlice },
  { group: "Lesions", keys: ["[", "j", "]", "l"], text: "lesion before (two keys), next lesion (two keys)", run: (event) => selectNext("[jJ".includes(event.key) ? -1 : 1) },
  { group: "Lesions", keys: ["Enter"], text: "finish the lesion, or open it again", run: toggleFinished },
  { group: "Lesions", keys: ["p"], text: "carry the mask to the slices above and below", run: propagate },
  { group: "Files", keys: [ctrl("s")], text: "save", run: openSave },
  { group: "Files", keys: ["?"], text: "this help", run: openHelp },
];

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

function matches(row, event) {
  const isCtrl = event.ctrlKey || event.metaKey;
  return row.keys.some((wanted) => {
    const { key, ctrl: needsCtrl = false, shift } = typeof wanted === "string" ? { key: wanted } : wanted;
    const isShift = shift === undefined ? !(needsCtrl && event.shiftKey) : shift === event.shiftKey;
    return event.key.toLowerCase() === key.toLowerCase() && isCtrl === needsCtrl && isShift;
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

/** Makes the page take keys. */
export function listenToKeys() {
  addEventListener("keydown", (event) => {
    if (isForControl(event) || event.altKey) return;
    const { cursor, facts } = get();
    const fits = KEYS.filter((row) => (cursor || !row.cursor) && matches(row, event));
    const row = fits.find((one) => Boolean(one.cursor) === Boolean(cursor)) ?? fits[0];
    if (row && facts) {
      event.preventDefault();
      row.run(event);
    } else if (event.key === " " || event.key.toLowerCase() === "w") {
      if (!event.ctrlKey) event.preventDefault();
      held[event.key === " " ? "pan" : "window"] = true;
    }
  });
  addEventListener("keyup", (event) => {
    if (event.key === " ") held.pan = false;
    if (event.key.toLowerCase() === "w") held.window = false;
  });
  addEventListener("blur", () => Object.assign(held, { pan: false, window: false }));
}
