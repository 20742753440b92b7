// Draws a frame: slice, masks, disks, measures, and what is being dragged.

import { diskOfLine, handlesOf, toScreen, transformOf } from "./geometry.js";
import { drawGrey, fillOf, outlineOf, STALE } from "./shades.js";
import { annotationOf, lesionOf, measuresOf, ringsShown } from "./store.js";
import { axisText, isBusy, lengthText, maskOf, sliceOf, valueText } from "./work.js";

const LESION = "#56b4e9";
const BACKGROUND = "#e69f00";
const HANDLE = 4;
const LABEL_GAP = 8;
// A voxel wider than this is drawn as a square, so that single ones can be told apart.
const SQUARES_FROM = 6;

const grey = document.createElement("canvas");
let greyOf = "";
let unit = 1;
// Of masks: outline, and fills by colour; only of those in the last frame, for they are large.
const pictures = new Map();
const used = new Set();
let frames = 0;

/** Draws the state into the canvas and writes it into the canvas' data attributes. */
export function paint(canvas, state) {
  const pixelRatio = canvas.width / state.size.width;
  const context = canvas.getContext("2d");
  context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
  context.clearRect(0, 0, state.size.width, state.size.height);
  frames += 1;
  unit = state.size.unit;
  if (!state.facts || !state.view) {
    const text = state.opening || (state.documents.length ? "choose a volume on the left" : "");
    label(context, text, state.size.width / 2, state.size.height / 2, "center");
    Object.assign(canvas.dataset, { busy: state.opening ? "yes" : "no", drawn: frames });
    return;
  }
  const t = transformOf(state.view, state.facts, state.size);
  const slice = sliceOf(state.shown);
  if (slice) drawSlice(context, t, slice, state);
  used.clear();
  if (!state.hidden) {
    for (const lesion of state.session.lesions) {
      if (annotationOf(lesion, state.shown)) drawMask(context, t, lesion, state);
    }
    if (state.withMeasures) drawAxes(context, t, state);
    drawRings(context, t, state);
  }
  for (const mask of pictures.keys()) if (!used.has(mask)) pictures.delete(mask);
  drawLetters(context, state);
  if (state.drag) drawDrag(context, t, state);
  if (state.cursor) drawCursor(context, t, state);
  if (state.opening || state.task || state.slice !== state.shown || !slice) {
    const text = state.opening || state.task || `loading slice ${state.slice + 1} …`;
    label(context, text, state.size.width / 2, 16 * unit, "center");
  }
  tell(canvas, state, t);
}

function tell(canvas, state, t) {
  const { low, high } = state.window;
  Object.assign(canvas.dataset, {
    slice: state.shown,
    lesion: state.lesion ?? "",
    offsetY: t.offsetY,
    offsetX: t.offsetX,
    scaleY: t.scaleY,
    scaleX: t.scaleX,
    version: state.session.version,
    busy: isBusy(state) ? "yes" : "no",
    ms: state.ms ?? "",
    window: `${low},${high}`,
    drawn: frames,
  });
}

function drawSlice(context, t, slice, state) {
  const { low, high } = state.window;
  const wanted = `${state.facts.id} ${state.shown} ${low} ${high}`;
  if (greyOf !== wanted) {
    drawGrey(grey, slice, state.window);
    greyOf = wanted;
  }
  context.imageSmoothingEnabled = Math.max(t.scaleY, t.scaleX) < SQUARES_FROM;
  context.imageSmoothingQuality = "high";
  onVoxels(context, t, grey);
}

function onVoxels(context, t, picture) {
  const { width, height } = picture;
  context.drawImage(picture, t.offsetX, t.offsetY, width * t.scaleX, height * t.scaleY);
}

function drawMask(context, t, lesion, state) {
  const entry = maskOf(lesion.id, state.shown);
  if (!entry?.mask) return;
  if (!pictures.has(entry.mask)) {
    pictures.set(entry.mask, { outline: outlineOf(entry.mask), fills: new Map() });
  }
  used.add(entry.mask);
  const { outline, fills } = pictures.get(entry.mask);
  const colour = entry.isStale ? STALE : lesion.colour;
  if (!state.outline && state.opacity > 0) {
    if (!fills.has(colour)) fills.set(colour, fillOf(entry.mask, colour));
    context.globalAlpha = state.opacity;
    context.imageSmoothingEnabled = false;
    onVoxels(context, t, fills.get(colour));
    context.globalAlpha = 1;
  }
  const path = new Path2D();
  path.addPath(outline, new DOMMatrix([t.scaleX, 0, 0, t.scaleY, t.offsetX, t.offsetY]));
  context.setLineDash(entry.isStale ? [4, 4] : []);
  stroke(context, path, colour, lesion.id === state.lesion ? 2 : 1.2);
  context.setLineDash([]);
}

function stroke(context, path, colour, width) {
  context.lineWidth = unit * (width + 1.2);
  context.strokeStyle = "#0008";
  context.stroke(path);
  context.lineWidth = unit * width;
  context.strokeStyle = colour;
  context.stroke(path);
}

function strokeLine(context, from, to, width) {
  const path = new Path2D();
  path.moveTo(from.left, from.top);
  path.lineTo(to.left, to.top);
  stroke(context, path, "#ffffff", width);
}

function drawRings(context, t, state) {
  const pending = state.pending.filter((one) => one.slice === state.shown);
  const elsewhere = new Set([state.drag?.ring, ...pending.map((one) => one.ring)]);
  for (const ring of ringsShown(state)) {
    if (!elsewhere.has(ring.id)) drawRing(context, t, ring, ring.id === state.ring ? "selected" : "plain");
  }
  for (const one of pending) drawRing(context, t, one, "live");
}

// Lesion and background differ in colour, dashes and sign, so that no colour is needed. `look`:
// selected (with handles), plain, or live, which is not on the server yet.
function drawRing(context, t, ring, look) {
  const { top, left } = toScreen(t, ring.y, ring.x);
  const path = new Path2D();
  path.arc(left, top, Math.max(ring.radius * t.zoom, 1), 0, 2 * Math.PI);
  context.setLineDash(ring.positive ? [] : [6, 4]);
  const colour = ring.positive ? LESION : BACKGROUND;
  stroke(context, path, colour, look === "plain" ? 1.3 : 2.2);
  context.setLineDash([]);
  const sign = new Path2D();
  const arm = HANDLE * unit;
  sign.moveTo(left - arm, top);
  sign.lineTo(left + arm, top);
  if (ring.positive) {
    sign.moveTo(left, top - arm);
    sign.lineTo(left, top + arm);
  }
  stroke(context, sign, colour, 1.5);
  if (look !== "selected") return;
  for (const handle of handlesOf(t, ring)) {
    const box = new Path2D();
    box.rect(handle.left - arm, handle.top - arm, 2 * arm, 2 * arm);
    context.fillStyle = "#12161b";
    context.fill(box);
    stroke(context, box, colour, 1.2);
  }
}

function drawAxes(context, t, state) {
  const axes = measuresOf(state.lesion, state)?.slice;
  const lesion = lesionOf(state.lesion, state);
  if (!axes || !lesion || maskOf(lesion.id, state.shown)?.isStale !== false) return;
  // Their labels stand on different sides, so that they do not cover each other.
  for (const [ends, mm, name, side] of [
    [axes.long_axis, axes.long_axis_mm, "long", "left"],
    [axes.short_axis, axes.short_axis_mm, "short", "right"],
  ]) {
    if (!ends) continue;
    const places = ends.map(([y, x]) => toScreen(t, y, x)).sort((a, b) => a.left - b.left);
    const [from, to] = side === "left" ? places : places.reverse();
    strokeLine(context, from, to, 1.2);
    const gap = side === "left" ? LABEL_GAP : -LABEL_GAP;
    label(context, `${name} ${axisText(ends, mm, state.facts)}`, to.left + gap, to.top, side);
  }
}

function drawLetters(context, state) {
  const { width, height } = state.size;
  const { letters, is_hu: isHu, orientation_known: isKnown } = state.facts;
  if (!isKnown && isHu) {
    const text = "orientation unknown: left and right may be swapped";
    label(context, text, width / 2, 34 * unit, "center");
    return;
  }
  label(context, letters.top ?? "", width / 2, 34 * unit, "center");
  label(context, letters.bottom ?? "", width / 2, height - 12 * unit, "center");
  label(context, letters.left ?? "", 12 * unit, height / 2, "left");
  label(context, letters.right ?? "", width - 12 * unit, height / 2, "right");
}

function drawDrag(context, t, state) {
  const { drag, facts } = state;
  if (drag.kind === "line") {
    const [from, to] = [drag.from, drag.to].map((p) => toScreen(t, p.y, p.x));
    strokeLine(context, from, to, 1.5);
    const disk = diskOfLine(drag.from, drag.to, facts);
    drawRing(context, t, { ...disk, positive: drag.positive }, "live");
    label(context, `⌀ ${lengthText(2 * disk.radius, facts)}`, to.left + 12, to.top - 10, "left");
  } else if (drag.radius) {
    drawRing(context, t, drag, "live");
    const { top, left } = toScreen(t, drag.y, drag.x);
    const right = left + Math.max(drag.radius * t.zoom, 4) + 8;
    const slice = sliceOf(state.shown);
    const value = slice ? `, ${valueText(slice, state.hover ?? drag, facts)}` : "";
    label(context, `r ${lengthText(drag.radius, facts)}${value}`, right, top, "left");
  }
}

function drawCursor(context, t, state) {
  const { cursor, size } = state;
  const { top, left } = toScreen(t, cursor.y, cursor.x);
  const path = new Path2D();
  path.moveTo(0, top);
  path.lineTo(size.width, top);
  path.moveTo(left, 0);
  path.lineTo(left, size.height);
  context.lineWidth = 1;
  context.strokeStyle = "#ffffff66";
  context.stroke(path);
  drawRing(context, t, { ...cursor, radius: state.radius, positive: state.positive }, "live");
  label(context, `r ${lengthText(state.radius, state.facts)}`, left + 12, top - 12, "left");
}

function label(context, text, left, top, align) {
  context.font = `${13 * unit}px system-ui, 'DejaVu Sans', sans-serif`;
  context.textAlign = align;
  context.textBaseline = "middle";
  context.lineWidth = 3 * unit;
  context.strokeStyle = "#000c";
  context.strokeText(text, left, top);
  context.fillStyle = "#ffffff";
  context.fillText(text, left, top);
}
