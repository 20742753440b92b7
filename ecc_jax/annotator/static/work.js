// What a person does with the open volume.

import * as api from "./api.js";
import { distance, fit } from "./geometry.js";
import { annotationOf, get, lesionOf, redraw, ringsShown, set } from "./store.js";
import { say, sayError } from "./talk.js";
import { OpenVolume } from "./volume.js";

const AHEAD = 6;
const MEASURE_AFTER_MS = 200;
const MEASURE_AGAIN_MS = 5000;
const SWITCH_WITHIN_MS = 10000;

const current = () => OpenVolume.current;
export const sliceOf = (index) => current()?.slices.get(index);
export const peekSlice = (index) => current()?.slices.peek(index);
export const maskOf = (lesion, index) => current()?.masks.get(lesion, index);

/** Opens a volume and shows its first lesion, or else its middle. */
export async function openVolume(id) {
  if (get().opening) return;
  const name = get().documents.find((d) => d.id === id)?.name ?? "the volume";
  set({ opening: `opening ${name} …`, drag: null });
  try {
    if (current() && !(await current().isIdleWithin(SWITCH_WITHIN_MS))) {
      say("what you did last is still on its way; the volume stays open until it is saved", true);
      return;
    }
    const facts = await api.open(id);
    const volume = new OpenVolume(facts, { onMask: (...told) => onMask(volume, ...told) });
    volume.enter();
    show(facts);
  } catch (error) {
    sayError(error);
  } finally {
    set({ opening: "" });
  }
}

function show(facts) {
  const first = facts.session.lesions.find((lesion) => lesion.slices.length);
  const start = first ? first.slices[0].slice : Math.floor(facts.num_slices / 2);
  set({
    facts,
    session: facts.session,
    lesion: first?.id ?? null,
    ring: first?.slices[0].rings.at(-1)?.id ?? null,
    window: { ...get().window, name: "auto", of: "" },
    view: fit(facts, get().size),
    shown: start,
    radius: firstRadius(facts),
    ...{ drag: null, cursor: null, hover: null, pending: [], working: 0, task: "", ms: null },
    measures: new Map(),
  });
  goTo(start);
}

// A click without a drag before any disk: 8 mm, or a thirtieth of the slice.
function firstRadius(facts) {
  return facts.pixel_mm ? 8 / facts.pixel_mm : Math.min(...facts.display_shape) / 30;
}

/** Shows a slice, or the nearest one there is, once it has arrived. */
export function goTo(index) {
  const { facts, slice } = get();
  if (!facts) return;
  const there = Math.min(Math.max(Math.round(index), 0), facts.num_slices - 1);
  const step = there < slice ? -1 : 1;
  set({ slice: there });
  const ahead = Array.from({ length: AHEAD }, (_, i) => there + step * (i + 1));
  const wanted = [there, ...ahead, there - step].filter((i) => i >= 0 && i < facts.num_slices);
  current().slices.want(wanted);
}

/** Loads what thumbnails show, after all that the person waits for. */
export function wantThumbnails(lesion, indices) {
  if (!current() || get().slice !== get().shown) return;
  current().slices.wantLater(indices);
  for (const index of indices) current().masks.want(lesion, index);
}

/** Before each frame: shows the slice that was asked for if it is there, and asks for masks. */
export function settle(state) {
  if (!state.facts) return;
  const isThere = peekSlice(state.slice) !== undefined;
  if (!isThere) current().slices.want([state.slice]);
  // Never under a drag: the disk would land on another slice than it was begun on.
  if (isThere && state.shown !== state.slice && !state.drag) {
    const rings = ringsShown({ ...state, shown: state.slice });
    set({ shown: state.slice, ring: rings.at(-1)?.id ?? null });
  }
  for (const lesion of get().session.lesions) {
    if (annotationOf(lesion, get().shown)) current().masks.want(lesion.id, get().shown);
  }
}

/** Returns whether the shown slice is there and may be drawn on. */
export const isReady = (state) =>
  Boolean(state.facts && state.view && !state.opening && peekSlice(state.shown));

/** Returns whether the slice that was asked for, or a mask of it, is still awaited. */
export function isBusy(state) {
  if (state.working || state.task || !isReady(state) || state.slice !== state.shown) return true;
  return state.session.lesions.some(
    (lesion) => annotationOf(lesion, state.shown) && maskOf(lesion.id, state.shown)?.isStale !== false,
  );
}

/** Changes the session; returns the server's answer, null if it was refused. */
export async function send(kind, body) {
  return current() ? current().send(kind, body) : null;
}

function onMask(volume, slice, mask) {
  if (!volume.isCurrent) return;
  if (slice === get().shown && mask.ms) set({ ms: mask.ms });
  if (mask.warning) say(mask.warning, true);
  volume.notice(mask.version);
  wantMeasures();
  redraw();
}

let measuring = 0;
let turn = 0;

/** Asks for the measures of the lesions on the shown slice, and of the selected one. */
export function wantMeasures(ms = MEASURE_AFTER_MS) {
  clearTimeout(measuring);
  turn += 1; // those on their way are not wanted
  measuring = setTimeout(measure, ms, turn, ms);
}

async function measure(mine, ms) {
  const volume = current();
  const { shown, session, lesion } = get();
  const wanted = session.lesions.filter(
    (one) => one.slices.length && (one.id === lesion || annotationOf(one, shown)),
  );
  for (const one of wanted) {
    try {
      const told = await api.measures(volume.id, one.id, shown);
      if (mine !== turn || !volume.isCurrent) return;
      set({ measures: new Map([...get().measures, [one.id, told]]) });
      volume.notice(told.version);
    } catch (error) {
      if (mine !== turn || !volume.isCurrent || error.status === 404) return;
      wantMeasures(Math.min(2 * ms, MEASURE_AGAIN_MS));
      return;
    }
  }
}

// The lesion that is being begun, which presses that follow are meant for: its number once it is
// known, null if it was refused.
let begun = null;

/** Selects the lesion that an event begins, once it is answered. */
async function begin(volume, answer) {
  const { lesion: selected } = get();
  const mine = { lesion: null };
  begun = mine;
  const told = await answer;
  if (told) mine.lesion = told.changed[0]?.[0] ?? Math.max(...told.lesions.map(({ id }) => id));
  if (begun === mine) begun = null;
  // The person may have chosen another one meanwhile.
  if (told && volume.isCurrent && get().lesion === selected) set({ lesion: mine.lesion, ring: null });
}

/** Begins a lesion and selects it. */
export function addLesion() {
  const volume = current();
  if (volume) begin(volume, volume.send("add"));
}

/** Does something while a disk is shown where it will be. */
async function withPending(disk, run) {
  const pending = { ...disk, slice: get().shown };
  set({ pending: [...get().pending, pending] });
  const told = await run();
  set({ pending: get().pending.filter((one) => one !== pending) });
  return told;
}

/** Changes a disk of the selected lesion: `kind` is move or resize, `drag` what it becomes. */
export async function changeRing(kind, drag) {
  const { lesion, shown: slice } = get();
  const place = kind === "move" ? { y: drag.y, x: drag.x } : { radius: drag.radius };
  await withPending(drag, () => send(kind, { lesion, slice, ring: drag.ring, ...place }));
}

/** Places a disk of the selected lesion, or of a new one if none is selected. */
export async function press({ y, x, radius, positive }) {
  const volume = current();
  const disk = { slice: get().shown, y, x, radius, positive };
  const { lesion } = get();
  const meant = begun;
  set({ radius, hidden: false });
  // When it is sent, what was begun before it has its number.
  const body = () => {
    const number = meant?.lesion ?? lesion;
    return number === null ? { begin: true, ...disk } : { lesion: number, ...disk };
  };
  await withPending({ y, x, radius, positive }, async () => {
    const answer = volume.send("press", body);
    if (lesion === null) begin(volume, answer);
    const told = await answer;
    if (told && volume.isCurrent && get().shown === disk.slice) {
      set({ ring: ringsShown().at(-1)?.id ?? null });
    }
  });
}

/** Removes the selected disk, once those that were placed before are there. */
export async function deleteRing() {
  if (get().pending.length) await current().isIdleWithin(SWITCH_WITHIN_MS);
  const ring = selectedRing();
  if (ring) await send("delete", ring);
}

/** Returns what an event about the selected disk needs; null, told to the person, if there is none. */
export function selectedRing() {
  const { lesion, ring, shown } = get();
  if (lesion === null || ring === null) {
    say("no disk is selected on this slice; click the dot in its middle");
    return null;
  }
  return { lesion, slice: shown, ring };
}

/** Undoes or redoes, and shows where. */
export async function travel(kind) {
  const told = await send(kind);
  const slices = told?.changed.map(([, slice]) => slice) ?? [];
  if (slices.length && !slices.includes(get().shown)) goTo(slices[0]);
}

export const countText = (slices) => `${slices} ${slices === 1 ? "slice" : "slices"}`;

/** Carries the selected lesion's mask of this slice to its neighbours. */
export async function propagate() {
  const volume = current();
  const { lesion, shown, task } = get();
  if (task) return;
  if (!annotationOf(lesionOf(lesion), shown)) {
    say("propagation begins at a mask: press the lesion on this slice first");
    return;
  }
  set({ task: "propagating; any change ends it …" });
  const told = await volume.propagate(lesion, shown);
  if (!volume.isCurrent) return;
  set({ task: "" });
  if (!told) return;
  const there = told.changed.filter(([number, slice]) => annotationOf(lesionOf(number), slice));
  const text = `carried to ${countText(there.length)}; each can be corrected`;
  say(there.length ? text : "no neighbouring slice shows it");
}

/** Returns a length in mm, or in pixels where the volume does not say how long one is. */
export function lengthText(displayPixels, facts) {
  const mm = facts.pixel_mm;
  return mm ? `${(displayPixels * mm).toFixed(1)} mm` : `${displayPixels.toFixed(1)} px`;
}

/** Returns the value of a slice at a place, in HU where it has them. */
export function valueText(slice, place, facts) {
  const value = slice.values[Math.round(place.y) * slice.width + Math.round(place.x)];
  return `${value}${facts.is_hu ? " HU" : ""}`;
}

/** Returns the length of an axis, given its two ends (y, x) and its mm, which may be unknown. */
export function axisText(ends, mm, facts) {
  if (!ends) return "–";
  if (Number.isFinite(mm)) return `${mm.toFixed(1)} mm`;
  const [from, to] = ends.map(([y, x]) => ({ y, x }));
  return `${distance(from, to, facts).toFixed(1)} px`;
}
