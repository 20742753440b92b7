// Slices and masks that have arrived, and those on their way. What fails is tried again while it is
// wanted, after pauses that grow.

import * as api from "./api.js";
import { redraw } from "./store.js";

const MAX_SLICE_BYTES = 256 * 2 ** 20;
const MAX_MASK_BYTES = 64 * 2 ** 20;
const MAX_LOADING = 6;
// What was wanted so lately is in sight: it is not forgotten, or it would be asked for again at once.
const IN_SIGHT_MS = 1000;
const FIRST_PAUSE_MS = 150;
const LAST_PAUSE_MS = 5000;
// The server is busy, or the request was overtaken: nothing that a person need know of.
const PASSING = [409, 429];

/** What has failed, and when it may be asked for again. */
class Pauses {
  #until = new Map();

  has(key) {
    return performance.now() < (this.#until.get(key)?.time ?? 0);
  }

  begin(key) {
    const ms = Math.min(2 * (this.#until.get(key)?.ms ?? FIRST_PAUSE_MS / 2), LAST_PAUSE_MS);
    this.#until.set(key, { ms, time: performance.now() + ms });
    setTimeout(redraw, ms + 1);
  }

  end(key) {
    this.#until.delete(key);
  }
}

/** Slices of one volume; what was shown longest ago is forgotten. */
export class Slices {
  #id;
  #kept = new Map();
  #loading = new Set();
  #pauses = new Pauses();
  #bytes = 0;
  #wanted = [];
  #later = [];
  #onError;
  #isOpen = true;

  constructor(id, onError) {
    this.#id = id;
    this.#onError = onError;
  }

  /** Ends all loading. */
  close() {
    this.#isOpen = false;
    this.#wanted = this.#later = [];
  }

  /** Returns a slice, or undefined if it has not arrived. */
  peek(index) {
    return this.#kept.get(index);
  }

  /** Does the same, and keeps the slice longer. */
  get(index) {
    const found = this.#kept.get(index);
    if (found) {
      this.#kept.delete(index);
      this.#kept.set(index, found);
    }
    return found;
  }

  /** Loads slices in this order; those that were wanted before and have not begun are dropped. */
  want(indices) {
    this.#wanted = indices;
    this.#next();
  }

  /** Loads slices after those that are wanted, one at a time. */
  wantLater(indices) {
    this.#later = indices;
    this.#next();
  }

  #isMissing(index) {
    return !this.#kept.has(index) && !this.#loading.has(index) && !this.#pauses.has(index);
  }

  #next() {
    if (!this.#isOpen) return;
    for (const index of this.#wanted) {
      if (this.#loading.size >= MAX_LOADING) return;
      if (this.#isMissing(index)) this.#load(index);
    }
    const next = this.#loading.size ? undefined : this.#later.find((i) => this.#isMissing(i));
    if (next !== undefined) this.#load(next);
  }

  async #load(index) {
    this.#loading.add(index);
    try {
      const slice = await api.slice(this.#id, index);
      this.#pauses.end(index);
      this.#keep(index, slice);
    } catch (error) {
      this.#pauses.begin(index);
      if (this.#isOpen && !PASSING.includes(error.status)) this.#onError(error);
    } finally {
      this.#loading.delete(index);
      this.#next();
      redraw();
    }
  }

  #keep(index, slice) {
    this.#kept.set(index, slice);
    this.#bytes += slice.values.byteLength;
    const inSight = new Set([...this.#wanted, ...this.#later, index]);
    for (const [old, kept] of this.#kept) {
      if (this.#bytes <= MAX_SLICE_BYTES) break;
      if (inSight.has(old)) continue;
      this.#kept.delete(old);
      this.#bytes -= kept.values.byteLength;
    }
  }
}

/** Masks by lesion and slice; one that no longer fits its disks is stale until the next arrives. */
export class Masks {
  #id;
  #kept = new Map();
  #pauses = new Pauses();
  #onError;
  #onMask;
  #isOpen = true;

  constructor(id, { onMask, onError }) {
    this.#id = id;
    this.#onMask = onMask;
    this.#onError = onError;
  }

  close() {
    this.#isOpen = false;
  }

  /** Returns `mask` (undefined before the first) and `isStale`; undefined if never asked for. */
  get(lesion, slice) {
    return this.#kept.get(keyOf(lesion, slice));
  }

  /** Says that disks have changed: what is kept is stale, what is on its way is not wanted. */
  invalidate(lesion, slice) {
    const entry = this.get(lesion, slice);
    if (entry) Object.assign(entry, { isStale: true, isLoading: false, turn: entry.turn + 1 });
    this.#pauses.end(keyOf(lesion, slice));
  }

  invalidateAll() {
    for (const key of this.#kept.keys()) this.invalidate(...key.split("/").map(Number));
  }

  /** Loads a mask unless it is there or on its way. */
  want(lesion, slice) {
    const key = keyOf(lesion, slice);
    const entry = this.#kept.get(key) ?? { isStale: true, isLoading: false, turn: 0 };
    entry.wantedAt = performance.now();
    this.#kept.delete(key); // what was wanted last is forgotten last
    this.#kept.set(key, entry);
    if (!this.#isOpen || !entry.isStale || entry.isLoading || this.#pauses.has(key)) return;
    entry.isLoading = true;
    this.#load(entry, lesion, slice, entry.turn);
  }

  async #load(entry, lesion, slice, turn) {
    const key = keyOf(lesion, slice);
    try {
      const mask = await api.mask(this.#id, lesion, slice);
      if (entry.turn !== turn) return;
      Object.assign(entry, { mask, isStale: false, isLoading: false });
      this.#pauses.end(key);
      this.#forget();
      this.#onMask(slice, mask);
    } catch (error) {
      if (entry.turn !== turn) return;
      entry.isLoading = false;
      this.#pauses.begin(key);
      if (this.#isOpen && !PASSING.includes(error.status)) this.#onError(error);
    }
    redraw();
  }

  #forget() {
    const sizeOf = ({ mask }) => mask?.bytes.length ?? 0;
    let bytes = [...this.#kept.values()].reduce((sum, entry) => sum + sizeOf(entry), 0);
    for (const [key, entry] of this.#kept) {
      if (bytes <= MAX_MASK_BYTES) return;
      if (entry.isLoading || performance.now() - entry.wantedAt < IN_SIGHT_MS) continue;
      bytes -= sizeOf(entry);
      this.#kept.delete(key);
    }
  }
}

const keyOf = (lesion, slice) => `${lesion}/${slice}`;
