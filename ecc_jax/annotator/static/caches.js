// Slices and masks that have arrived, and those on their way.

import * as api from "./api.js";
import { redraw } from "./store.js";

const MAX_BYTES = 256 * 2 ** 20;
const MAX_LOADING = 6;
const AGAIN_MS = 120;

/** Slices of one volume; what was shown longest ago is forgotten. */
export class Slices {
  #id;
  #kept = new Map();
  #loading = new Set();
  #bytes = 0;
  #wanted = [];
  #later = [];
  #onError;

  constructor(id, onError) {
    this.#id = id;
    this.#onError = onError;
  }

  /** Returns a slice, or undefined if it has not arrived. */
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
    this.#wanted = indices.filter((i) => !this.#kept.has(i) && !this.#loading.has(i));
    this.#next();
  }

  /** Loads slices after those that are wanted, one at a time. */
  wantLater(indices) {
    this.#later = indices;
    this.#next();
  }

  #next() {
    while (this.#wanted.length && this.#loading.size < MAX_LOADING) this.#load(this.#wanted.shift());
    if (this.#loading.size) return;
    const next = this.#later.find((i) => !this.#kept.has(i));
    if (next !== undefined) this.#load(next);
  }

  async #load(index) {
    this.#loading.add(index);
    try {
      const slice = await api.slice(this.#id, index);
      this.#kept.set(index, slice);
      this.#bytes += slice.values.byteLength;
      for (const [old, kept] of this.#kept) {
        if (this.#bytes <= MAX_BYTES) break;
        this.#kept.delete(old);
        this.#bytes -= kept.values.byteLength;
      }
      redraw();
    } catch (error) {
      this.#onError(error);
    } finally {
      this.#loading.delete(index);
      this.#next();
    }
  }
}

/** Masks by lesion and slice; one that no longer fits its disks is stale until the next arrives. */
export class Masks {
  #id;
  #kept = new Map();
  #onError;
  #onMask;

  constructor(id, { onMask, onError }) {
    this.#id = id;
    this.#onMask = onMask;
    this.#onError = onError;
  }

  /** Returns `mask` (undefined before the first), `isStale`, and `count`, which grows with each. */
  get(lesion, slice) {
    return this.#kept.get(`${lesion}/${slice}`);
  }

  /** Says that disks have changed: what is kept is stale, what is on its way is not wanted. */
  invalidate(lesion, slice) {
    const entry = this.get(lesion, slice);
    if (!entry) return;
    const turn = entry.turn + 1;
    Object.assign(entry, { isStale: true, isLoading: false, hasFailed: false, turn });
  }

  forget(lesion, slice) {
    this.invalidate(lesion, slice); // an answer on its way finds its turn gone
    this.#kept.delete(`${lesion}/${slice}`);
  }

  /** Loads a mask unless it is there or on its way. */
  want(lesion, slice) {
    const key = `${lesion}/${slice}`;
    if (!this.#kept.has(key)) {
      const fresh = { mask: undefined, isStale: true, isLoading: false, hasFailed: false };
      this.#kept.set(key, { ...fresh, turn: 0, count: 0 });
    }
    const entry = this.#kept.get(key);
    if (!entry.isStale || entry.isLoading) return;
    entry.isLoading = true;
    this.#load(entry, lesion, slice, entry.turn);
  }

  async #load(entry, lesion, slice, turn) {
    let failure = null;
    try {
      const mask = await api.mask(this.#id, lesion, slice);
      if (entry.turn !== turn) return;
      Object.assign(entry, { mask, isStale: false, count: entry.count + 1 });
      this.#onMask(lesion, slice, mask);
    } catch (error) {
      failure = error;
    }
    if (entry.turn !== turn) return;
    if (failure && [409, 429].includes(failure.status)) {
      // Overtaken by another request, or too many wait: asked for again if it is still wanted.
      await new Promise((done) => setTimeout(done, AGAIN_MS));
      if (entry.turn === turn) entry.isLoading = false;
    } else if (failure) {
      // Not asked for again by itself: the next change of its disks does.
      this.#onError(failure);
      Object.assign(entry, { hasFailed: true });
    } else {
      entry.isLoading = false;
    }
    redraw();
  }
}
