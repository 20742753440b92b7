// One opened volume: its slices, its masks, and the events on their way to its session. What arrives
// for a volume that has been left changes nothing.

import * as api from "./api.js";
import { Masks, Slices } from "./caches.js";
import { get, lesionOf, ringsShown, set } from "./store.js";
import { say, sayError } from "./talk.js";

const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 5000;
const CHANGED = "this volume was changed elsewhere, in another window perhaps; it is loaded again";
// Nobody answered, or too many wait: the same event is sent again. Had it arrived after all, its
// version is refused and the session loaded.
const AGAIN = [0, 429, 503];
const EDITS = ["press", "move", "resize", "delete", "clear", "propagate"];

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class OpenVolume {
  static current = null;

  #queue = [];
  #isSending = false;

  constructor(id, { onMask }) {
    this.id = id;
    const onError = (error) => this.isCurrent && sayError(error);
    this.slices = new Slices(id, onError);
    this.masks = new Masks(id, { onMask, onError });
  }

  get isCurrent() {
    return OpenVolume.current === this;
  }

  /** Makes this the volume that is shown. */
  enter() {
    const before = OpenVolume.current;
    OpenVolume.current = this;
    before?.slices.close();
    before?.masks.close();
  }

  /** Returns once no event waits; false if some still do after so long. */
  async isIdleWithin(ms) {
    const end = performance.now() + ms;
    while (this.#queue.length && performance.now() < end) await pause(20);
    return this.#queue.length === 0;
  }

  /**
   * Changes the session by an event once those before it are answered.
   * Returns the server's answer; null if it was refused, which is shown.
   */
  send(kind, body = {}) {
    const problem = problemOf(kind, body);
    if (problem) {
      say(problem, true);
      return Promise.resolve(null);
    }
    return new Promise((done) => {
      this.#queue.push({ kind, body, done });
      this.#tell();
      this.#sendAll();
    });
  }

  /** Carries a mask to its neighbours; no event waits for it, and any event ends it. */
  async propagate(lesion, slice) {
    const problem = problemOf("propagate", { lesion });
    if (problem) return void say(problem, true);
    await this.isIdleWithin(LAST_PAUSE_MS);
    try {
      const { version } = get().session;
      const told = await api.event(this.id, "propagate", { lesion, slice, version });
      this.#take(told);
      return told;
    } catch (error) {
      if (error.reason === "version") await this.reload();
      else if (error.reason === "interrupted") say("propagation ended: something was changed meanwhile");
      else sayError(error);
      return null;
    }
  }

  /** Loads the session again, after somebody else has changed it. */
  async reload(note = CHANGED) {
    try {
      const facts = await api.facts(this.id);
      if (!this.isCurrent) return;
      this.masks.invalidateAll();
      set({ facts, session: facts.session });
      chooseWhatIsThere();
      say(note, true);
    } catch (error) {
      sayError(error);
    }
  }

  /** Loads the session again if an answer is of a later version than the one that is shown. */
  async notice(version) {
    if (this.isCurrent && !this.#queue.length && version > get().session.version) await this.reload();
  }

  #tell() {
    if (this.isCurrent) set({ working: this.#queue.length });
  }

  async #sendAll() {
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#queue.length) {
      const [first] = this.#queue;
      const told = await this.#sendUntilAnswered(first);
      this.#queue.shift();
      first.done(told);
      this.#tell();
    }
    this.#isSending = false;
  }

  async #sendUntilAnswered({ kind, body }) {
    for (let ms = FIRST_PAUSE_MS; ; ms = Math.min(2 * ms, LAST_PAUSE_MS)) {
      try {
        const { version } = get().session;
        const told = await api.event(this.id, kind, { ...body, mask: false, version });
        this.#take(told);
        return told;
      } catch (error) {
        if (AGAIN.includes(error.status)) {
          say(`${error.message}; not saved yet: ${this.#queue.length}, trying again`, true);
          await pause(ms);
          continue;
        }
        if (error.status === 409) await this.#restart();
        else sayError(error);
        return null;
      }
    }
  }

  // Events that wait were meant for what is no longer there.
  async #restart() {
    const dropped = this.#queue.splice(1);
    for (const { done } of dropped) done(null);
    await this.reload(`${CHANGED}: repeat what you did last`);
  }

  /** Takes over what the server says of the session; masks of what has changed are stale. */
  #take(told) {
    if (!this.isCurrent) return;
    for (const [lesion, slice] of told.changed) this.masks.invalidate(lesion, slice);
    if (told.version >= get().session.version) set({ session: { ...get().session, ...told } });
    chooseWhatIsThere();
  }
}

/** Returns why an event is not even sent; empty if it is. */
function problemOf(kind, { lesion }) {
  if (get().readOnly) return "started with --read-only: nothing can be changed";
  const found = lesionOf(lesion);
  if (found?.finished && EDITS.includes(kind)) {
    return `${found.name} is finished: N begins another one, Enter opens it again`;
  }
  return "";
}

function chooseWhatIsThere() {
  const { lesion, ring } = get();
  const rings = ringsShown();
  if (lesion !== null && !lesionOf(lesion)) set({ lesion: null });
  if (!rings.some((r) => r.id === ring)) set({ ring: rings.at(-1)?.id ?? null });
}
