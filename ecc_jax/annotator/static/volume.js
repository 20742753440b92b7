// One opened volume: its slices, its masks, and the events on their way to its session. What arrives
// for a volume that has been left changes nothing.

import * as api from "./api.js";
import { Masks, Slices } from "./caches.js";
import { get, lesionOf, ringsShown, set } from "./store.js";
import { say, sayError } from "./talk.js";

const POLL_MS = 20;
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
  #isCarrying = false;
  #reopening = null;

  constructor(facts, { onMask }) {
    this.id = facts.id;
    this.version = facts.session.version;
    const onError = (error) => this.#onError(error);
    this.slices = new Slices(this.id, onError);
    this.masks = new Masks(this.id, { onMask, onError });
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

  /** Returns once nothing is on its way; false if something still is after so long. */
  async isIdleWithin(ms) {
    const end = performance.now() + ms;
    while (this.#isBusy && performance.now() < end) await pause(POLL_MS);
    return !this.#isBusy;
  }

  get #isBusy() {
    return this.#queue.length > 0 || this.#isCarrying;
  }

  /**
   * Changes the session by an event once those before it are answered; a body may be a function,
   * which is asked when the event is sent.
   * Returns the server's answer; null if it was refused, which is shown.
   */
  send(kind, body = {}) {
    const problem = problemOf(kind, valuesOf(body));
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
    if (problem) {
      say(problem, true);
      return null;
    }
    await this.isIdleWithin(LAST_PAUSE_MS);
    this.#isCarrying = true;
    const told = await this.#carry(lesion, slice);
    this.#isCarrying = false;
    return told;
  }

  async #carry(lesion, slice) {
    try {
      const told = await api.event(this.id, "propagate", { lesion, slice, version: this.version });
      this.#take(told);
      return told;
    } catch (error) {
      if (error.reason === "version") await this.reload();
      else if (error.status === 409) say("propagation ended: something was changed meanwhile");
      else sayError(error);
      return null;
    }
  }

  /** Loads the session again, after somebody else has changed it. */
  async reload(note = CHANGED) {
    try {
      this.#show(await api.facts(this.id));
      if (this.isCurrent) say(note, true);
    } catch (error) {
      this.#onError(error);
    }
  }

  #show(facts) {
    this.version = facts.session.version;
    if (!this.isCurrent) return;
    this.masks.invalidateAll();
    set({ facts, session: facts.session });
    chooseWhatIsThere();
  }

  /** Loads the session again if an answer is of a later version than the one that is shown. */
  async notice(version) {
    if (this.isCurrent && !this.#isBusy && version > this.version) await this.reload();
  }

  // The server closes a volume that is not used for another one, and has none open after a restart.
  #onError(error) {
    if (!this.isCurrent) return;
    if (error.status === 404) this.#reopen();
    else sayError(error);
  }

  #reopen() {
    this.#reopening ??= api
      .open(this.id)
      .then((facts) => facts.session.version !== this.version && this.reload())
      .catch(sayError)
      .finally(() => {
        this.#reopening = null;
      });
    return this.#reopening;
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
      // Whoever has waited for it comes first.
      if (this.#queue.length) await pause(0);
    }
    this.#isSending = false;
  }

  async #sendUntilAnswered({ kind, body }) {
    const values = valuesOf(body);
    let wasSilent = false;
    let wasReopened = false;
    for (let ms = FIRST_PAUSE_MS; ; ms = Math.min(2 * ms, LAST_PAUSE_MS)) {
      try {
        const told = await api.event(this.id, kind, { ...values, mask: false, version: this.version });
        this.#take(told);
        return told;
      } catch (error) {
        if (AGAIN.includes(error.status)) {
          wasSilent ||= error.status === 0;
          say(`${error.message}; not saved yet: ${this.#queue.length}, trying again`, true);
          await pause(ms);
        } else if (error.status === 404 && !wasReopened) {
          wasReopened = true;
          await this.#reopen();
        } else if (error.status === 409) {
          return this.#afterConflict(wasSilent);
        } else {
          sayError(error);
          return null;
        }
      }
    }
  }

  /** Returns the answer that was lost on its way, or null where somebody else has changed the session. */
  async #afterConflict(wasSilent) {
    const before = this.version;
    const dropped = this.#queue.length;
    const note = `${CHANGED}, without your last ${dropped === 1 ? "change" : `${dropped} changes`}`;
    await this.reload(wasSilent ? "" : note);
    if (wasSilent && this.version === before + 1) return { ...get().session, changed: [] };
    if (wasSilent) say(note, true);
    // Events that wait were meant for what is no longer there.
    for (const { done } of this.#queue.splice(1)) done(null);
    return null;
  }

  /** Takes over what the server says of the session; masks of what has changed are stale. */
  #take(told) {
    const isNewer = told.version >= this.version;
    if (isNewer) this.version = told.version;
    if (!this.isCurrent) return;
    for (const [lesion, slice] of told.changed) this.masks.invalidate(lesion, slice);
    const { version, lesions, can_undo, can_redo } = told;
    if (isNewer) set({ session: { ...get().session, version, lesions, can_undo, can_redo } });
    chooseWhatIsThere();
  }
}

const valuesOf = (body) => (typeof body === "function" ? body() : body);

/** Returns why an event is not even sent; empty if it is. */
function problemOf(kind, { lesion }) {
  if (get().opening) return get().opening;
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
