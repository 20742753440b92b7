// Mouse, pen and touch on the canvas. A gesture begins with `pointerdown`, which decides what it is.

import { byId, focusView } from "./dom.js";
import * as geometry from "./geometry.js";
import { get, ringsShown, set } from "./store.js";
import { say } from "./talk.js";
import { changeRing, goTo, isReady, press } from "./work.js";

const CLICK_PX = 3; // a drag shorter than this is a click
const REACH_PX = 8; // around handles and centres
const TOUCH_REACH_PX = 18;
const WHEEL_PX = 60; // of a touchpad, per slice
const ZOOM_PER_PX = 0.0025;
// A hand that writes rests on the screen: touches so soon after a pen are not meant.
const PALM_MS = 1000;

// Left, middle, right, and the eraser of a pen.
const BUTTONS = [0, 1, 2, 5];

export const held = { pan: false, window: false }; // keys that change what a drag does
const fingers = new Map();
let gesture = null;
let rolled = 0;
let lastPen = -PALM_MS;

/** Makes a canvas take gestures. */
export function listenTo(canvas) {
  const on = (name, handler) => canvas.addEventListener(name, handler, { passive: false });
  on("pointerdown", (event) => begin(canvas, event));
  on("pointermove", (event) => move(canvas, event));
  on("pointerup", (event) => end(canvas, event));
  on("pointercancel", (event) => {
    const isFinger = fingers.delete(event.pointerId);
    if (gesture?.pointer === event.pointerId || (isFinger && gesture?.kind === "pinch")) cancel();
  });
  on("pointerleave", () => set({ hover: null }));
  on("contextmenu", (event) => event.preventDefault());
  on("auxclick", (event) => event.preventDefault());
  on("wheel", (event) => wheel(canvas, event));
}

/** Ends a gesture without any effect; returns whether there was one. */
export function cancel() {
  const was = gesture !== null;
  if (gesture?.start?.window) set({ window: gesture.start.window });
  gesture = null;
  byId("view").classList.remove("is-panning");
  set({ drag: null });
  return was;
}

function pointOf(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return { top: event.clientY - box.top, left: event.clientX - box.left };
}

function transform() {
  const { view, facts, size } = get();
  return geometry.transformOf(view, facts, size);
}

const voxelAt = (point) => geometry.toVoxel(transform(), point);

function begin(canvas, event) {
  event.preventDefault();
  focusView();
  if (!isReady(get()) || !BUTTONS.includes(event.button)) return;
  const point = pointOf(canvas, event);
  if (event.pointerType === "pen") overruleTouches();
  if (event.pointerType === "touch") {
    if (performance.now() - lastPen < PALM_MS) return;
    fingers.set(event.pointerId, point);
    if (fingers.size === 2) return beginPinch();
    if (fingers.size > 2) return;
  }
  if (gesture) return; // another button during a drag changes nothing
  canvas.setPointerCapture(event.pointerId);
  gesture = { ...gestureOf(event, point), pointer: event.pointerId, from: point };
  if (gesture.kind === "pan") canvas.classList.add("is-panning");
  show(point, event);
}

function overruleTouches() {
  lastPen = performance.now();
  if (fingers.size) cancel();
  fingers.clear();
}

function gestureOf(event, point) {
  const start = { view: get().view, window: null };
  if (event.button === 1 || held.pan) return { kind: "pan", start };
  if (held.window) return { kind: "window", start: { ...start, window: get().window } };
  // The barrel button of a pen counts as the right one, its eraser as background.
  const isBackground = event.button === 2 || event.button === 5;
  const positive = isBackground ? false : get().positive;
  const voxel = voxelAt(point);
  if (event.shiftKey) return { kind: "line", positive, voxel };
  const reach = get().size.unit * (event.pointerType === "touch" ? TOUCH_REACH_PX : REACH_PX);
  const found = isBackground
    ? null
    : geometry.hit(transform(), get().hidden ? [] : ringsInSight(), get().ring, point, reach);
  if (found) return { kind: found.part === "centre" ? "move" : "resize", ring: found.ring };
  return { kind: "disk", positive, voxel };
}

/** Returns the disks as they are drawn: those on their way where they will be. */
function ringsInSight() {
  const { pending } = get();
  return ringsShown().map((ring) => ({ ...ring, ...pending.findLast((p) => p.ring === ring.id) }));
}

function move(canvas, event) {
  if (!get().facts || !get().view) return;
  if (event.pointerType === "pen") lastPen = performance.now();
  const point = pointOf(canvas, event);
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, point);
  const voxel = voxelAt(point);
  set({ hover: geometry.isInside(voxel, get().facts) ? voxel : null });
  if (gesture?.kind === "pinch") return pinch();
  if (gesture?.pointer === event.pointerId) show(point, event);
}

const isClick = (point) =>
  Math.hypot(point.top - gesture.from.top, point.left - gesture.from.left) < CLICK_PX;

/** Shows what letting go at a point would do. */
function show(point, event) {
  const { facts } = get();
  const voxel = voxelAt(point);
  if (gesture.kind === "pan") {
    const by = { left: point.left - gesture.from.left, top: point.top - gesture.from.top };
    set({ view: geometry.panned(gesture.start.view, facts, by.left, by.top) });
  } else if (gesture.kind === "window") {
    showWindow(point);
  } else if (gesture.kind === "line") {
    const to = geometry.inside(voxel, facts);
    const from = geometry.inside(gesture.voxel, facts);
    set({ drag: { kind: "line", from, to, positive: gesture.positive } });
  } else if (gesture.kind === "disk") {
    // Shift pressed later turns a disk that is being dragged into a line.
    if (event.shiftKey) gesture.kind = "line";
    const { positive } = gesture;
    const radius = isClick(point) ? get().radius : diskRadius(gesture.voxel, voxel);
    set({ drag: { kind: "disk", ...geometry.inside(gesture.voxel, facts), radius, positive } });
  } else {
    showRing(point, voxel);
  }
}

function showRing(point, voxel) {
  const { ring, kind } = gesture;
  const there = geometry.inside(voxel, get().facts);
  const changed = kind === "move" ? { ...ring, ...there } : { ...ring, radius: diskRadius(ring, voxel) };
  set({ drag: { ...(isClick(point) ? ring : changed), kind: "ring", ring: ring.id } });
}

// Rightwards widens; downwards raises the level, so that the slice darkens, as in OHIF.
function showWindow(point) {
  const { low, high } = gesture.start.window;
  const perPixel = Math.max((high - low) / 400, 0.05);
  const width = Math.max(high - low + (point.left - gesture.from.left) * perPixel, 1);
  const level = (low + high) / 2 + (point.top - gesture.from.top) * perPixel;
  set({ window: { low: level - width / 2, high: level + width / 2, name: "" } });
}

function diskRadius(centre, voxel) {
  const { facts } = get();
  return geometry.radiusWithin(geometry.distance(centre, voxel, facts), facts);
}

function end(canvas, event) {
  fingers.delete(event.pointerId);
  canvas.classList.remove("is-panning");
  if (gesture?.kind === "pinch") {
    if (fingers.size === 2) beginPinch();
    if (!fingers.size) gesture = null;
    return;
  }
  if (gesture?.pointer !== event.pointerId) return;
  const point = pointOf(canvas, event);
  show(point, event);
  const done = gesture;
  const wasClick = isClick(point);
  const { drag } = get();
  gesture = null;
  set({ drag: null });
  if (drag) finish(done, drag, wasClick);
}

function finish(done, drag, wasClick) {
  const { facts } = get();
  if (done.kind === "disk" || done.kind === "line") {
    if (!geometry.isInside(done.voxel, facts)) {
      say("press inside the slice");
      return;
    }
    if (done.kind === "line" && wasClick) return;
    const disk = done.kind === "line" ? geometry.diskOfLine(drag.from, drag.to, facts) : drag;
    press({ y: disk.y, x: disk.x, radius: disk.radius, positive: done.positive });
  } else if (done.kind === "move" || done.kind === "resize") {
    set({ ring: done.ring.id });
    if (wasClick) return;
    changeRing(done.kind, drag);
  }
}

function beginPinch() {
  set({ drag: null });
  gesture = { kind: "pinch", start: get().view, from: [...fingers.values()] };
}

/** Zooms and pans by two fingers. */
function pinch() {
  if (fingers.size < 2) return;
  const { facts, size } = get();
  const span = ([a, b]) => Math.hypot(a.top - b.top, a.left - b.left);
  const middle = ([a, b]) => ({ top: (a.top + b.top) / 2, left: (a.left + b.left) / 2 });
  const now = [...fingers.values()];
  const from = middle(gesture.from);
  const to = middle(now);
  const factor = span(now) / Math.max(span(gesture.from), 1);
  const zoomed = geometry.zoomedAt(gesture.start, facts, size, from, factor);
  set({ view: geometry.panned(zoomed, facts, to.left - from.left, to.top - from.top) });
}

function wheel(canvas, event) {
  event.preventDefault();
  const { facts, view, size, slice } = get();
  if (!facts || !view || gesture || get().opening) return;
  // Lines and pages of some mice, in pixels.
  const pixels = event.deltaY * [1, 40, 400][event.deltaMode];
  if (event.ctrlKey) {
    const factor = Math.exp(-pixels * ZOOM_PER_PX);
    set({ view: geometry.zoomedAt(view, facts, size, pointOf(canvas, event), factor) });
    return;
  }
  // A notch of a mouse is one slice; a touchpad's small steps add up to one.
  rolled = Math.sign(rolled) === Math.sign(pixels) ? rolled + pixels : pixels;
  const steps = Math.abs(pixels) >= WHEEL_PX ? Math.sign(pixels) : Math.trunc(rolled / WHEEL_PX);
  if (!steps) return;
  rolled = 0;
  goTo(slice + steps);
}
