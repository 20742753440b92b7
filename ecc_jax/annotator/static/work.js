// The open volume: what was drawn goes to the server, one event after the other, and masks come back.

import * as api from "./api.js";
import { Masks, Slices } from "./caches.js";
import { fit } from "./geometry.js";
import { annotationOf, get, lesionOf, redraw, ringsShown, set } from "./store.js";

const MESSAGE_MS = 8000;
const AHEAD = 6;

let slices = null;
let masks = null;
let queue = Promise.resolve();
let timer = 0;

export const sliceOf = (index) => slices?.get(index);
export const maskOf = (lesion, index) => masks?.get(lesion, index);

/** Shows one line of news or an error; an empty one takes it away. */
export function say(text, isError = false) {
  const line = document.getElementById("message");
  line.textContent = text;
  line.classList.toggle("is-error", isError);
  clearTimeout(timer);
  if (text) timer = setTimeout(() => say(""), isError ? 2 * MESSAGE_MS : MESSAGE_MS);
}

export function sayError(error) {
  say(error.message, true);
}

/** Opens a volume and shows its first lesion, or else its middle. */
export async function openVolume(id) {
  const name = get().documents.find((d) => d.id === id)?.name ?? "the volume";
  set({ task: `opening ${name} …` });
  try {
    const facts = await api.open(id);
    slices = new Slices(id, sayError);
    masks = new Masks(id, { onMask, onError: sayError });
    const first = facts.session.lesions.find((lesion) => lesion.slices.length);
    const start = first ? first.slices[0].slice : Math.floor(facts.num_slices / 2);
    const fresh = { facts, session: facts.session, lesion: first?.id ?? null, ring: null };
    const window = { ...get().window, name: "auto" };
    set({ ...fresh, window, view: fit(facts, get().size), drag: null, cursor: null, hover: null });
    set({ measures: new Map(), shown: start, radius: firstRadius(facts) });
    goTo(start);
  } catch (error) {
    sayError(error);
  } finally {
    set({ task: "" });
  }
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
  const ahead = Array.from({ length: AHEAD }, (_, i) => there + step * (i + 1));
  const wanted = [there, ...ahead, there - step].filter((i) => i >= 0 && i < facts.num_slices);
  set({ slice: there });
  slices.want(wanted);
}

/** Loads what thumbnails show, after all that the person waits for. */
export function wantThumbnails(lesion, indices) {
  if (!slices || get().slice !== get().shown) return;
  slices.wantLater(indices);
  for (const index of indices) masks.want(lesion, index);
}

/** Before each frame: shows the slice that was asked for if it is there, and asks for masks. */
export function settle(state) {
  if (!state.facts) return;
  const isThere = sliceOf(state.slice) !== undefined;
  // Never under a drag: the disk would land on another slice than it was begun on.
  if (isThere && state.shown !== state.slice && !state.drag) {
    const rings = ringsShown({ ...state, shown: state.slice });
    set({ shown: state.slice, ring: rings.at(-1)?.id ?? null, measures: new Map() });
  }
  for (const lesion of get().session.lesions) {
    if (annotationOf(lesion, get().shown)) masks.want(lesion.id, get().shown);
  }
}

/** Returns whether a mask of the shown slice is still awaited. */
export function isBusy(state) {
  if (state.working || state.task || state.slice !== state.shown) return true;
  return state.session.lesions.some((lesion) => {
    if (!annotationOf(lesion, state.shown)) return false;
    const entry = maskOf(lesion.id, state.shown);
    return !entry || (entry.isStale && !entry.hasFailed);
  });
}

/**
 * Changes the session by an event once those before it are answered.
 * Returns the server's answer; null if it was refused, which is shown.
 */
export function send(kind, body = {}) {
  const { facts, readOnly } = get();
  if (!facts) return Promise.resolve(null);
  if (readOnly) {
    say("started with --read-only: nothing can be changed", true);
    return Promise.resolve(null);
  }
  set({ working: get().working + 1 });
  const answer = queue.then(() => sendNow(facts.id, kind, body));
  // Nothing waits for a propagation: a change ends it.
  if (kind !== "propagate") queue = answer.catch(() => null);
  return answer.finally(() => set({ working: get().working - 1 }));
}

async function sendNow(id, kind, body) {
  if (get().facts?.id !== id) return null;
  const rest = kind === "propagate" ? {} : { mask: false };
  try {
    const told = await api.event(id, kind, { ...body, ...rest, version: get().session.version });
    take(told);
    return told;
  } catch (error) {
    if (error.status === 409 && kind !== "propagate") await reload(id);
    else sayError(error);
    return null;
  }
}

/** Takes over what the server says of the session; masks of what has changed are stale. */
function take(told) {
  for (const [lesion, slice] of told.changed) masks.invalidate(lesion, slice);
  if (told.version >= get().session.version) set({ session: { ...get().session, ...told } });
  const { lesion, ring } = get();
  const rings = ringsShown();
  if (lesion !== null && !lesionOf(lesion)) set({ lesion: null });
  if (!rings.some((r) => r.id === ring)) set({ ring: rings.at(-1)?.id ?? null });
}

async function reload(id) {
  try {
    const facts = await api.facts(id);
    for (const { id: lesion, slices: there } of [...get().session.lesions, ...facts.session.lesions]) {
      for (const { slice } of there) masks.invalidate(lesion, slice);
    }
    set({ facts, session: facts.session });
    say("this volume was changed in another window; it is loaded again: repeat what you did", true);
  } catch (error) {
    sayError(error);
  }
}

function onMask(lesion, slice, mask) {
  if (slice === get().shown && mask.ms) set({ ms: mask.ms });
  if (mask.warning) say(mask.warning, true);
  wantMeasures();
  redraw();
}

let measuring = 0;

/** Asks for the measures of the lesions on the shown slice, and of the selected one. */
export function wantMeasures() {
  clearTimeout(measuring);
  measuring = setTimeout(measure, 150);
}

async function measure() {
  const { facts, shown, session, lesion } = get();
  const wanted = session.lesions.filter(
    (one) => one.slices.length && (one.id === lesion || annotationOf(one, shown)),
  );
  for (const one of wanted) {
    try {
      const told = await api.measures(facts.id, one.id, shown);
      const isNow = get().facts === facts && get().session.version === session.version;
      if (!isNow || get().shown !== shown) return;
      set({ measures: new Map([...get().measures, [one.id, told]]) });
    } catch (error) {
      if (![404, 409, 429].includes(error.status)) sayError(error);
      if ([409, 429].includes(error.status)) wantMeasures();
    }
  }
}

/** Begins a lesion and selects it; returns its number, null if refused. */
export async function addLesion() {
  const told = await send("add");
  if (!told) return null;
  const id = Math.max(...told.lesions.map((lesion) => lesion.id));
  set({ lesion: id, ring: null });
  return id;
}

let adding = null;

// Two quick presses begin one lesion.
function firstLesion() {
  adding ??= addLesion().finally(() => {
    adding = null;
  });
  return adding;
}

/** Changes a disk of the selected lesion: `kind` is move or resize, `drag` what it becomes. */
export async function changeRing(kind, drag) {
  const { lesion, shown: slice } = get();
  const place = kind === "move" ? { y: drag.y, x: drag.x } : { radius: drag.radius };
  set({ pending: { ...drag, slice } });
  await send(kind, { lesion, slice, ring: drag.ring, ...place });
  set({ pending: null });
}

/** Places a disk of the selected lesion, or of a new one if none is selected. */
export async function press({ y, x, radius, positive }) {
  const slice = get().shown;
  const selected = lesionOf(get().lesion);
  if (selected?.finished) {
    say(`${selected.name} is finished: N begins another one, Enter opens it again`, true);
    return;
  }
  set({ radius, pending: { y, x, radius, positive, slice } });
  const lesion = selected?.id ?? (await firstLesion());
  const body = { lesion, slice, y, x, radius, positive };
  const told = lesion === null ? null : await send("press", body);
  set({ pending: null });
  if (!told || get().shown !== slice) return;
  set({ lesion, ring: ringsShown().at(-1)?.id ?? null });
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

export const countText = (slices) => `${slices} ${slices === 1 ? "slice" : "slices"}`;

/** Carries the selected lesion's mask of this slice to its neighbours. */
export async function propagate() {
  const { lesion, shown } = get();
  if (!annotationOf(lesionOf(lesion), shown)) {
    say("propagation begins at a mask: press the lesion on this slice first");
    return;
  }
  set({ task: "propagating; any change ends it …" });
  const told = await send("propagate", { lesion, slice: shown });
  set({ task: "" });
  if (!told) return;
  const others = new Set(told.changed.map(([, slice]) => slice)).size;
  say(others ? `carried to ${countText(others)}; each can be corrected` : "no neighbouring slice shows it");
}
