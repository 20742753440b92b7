// One line of news or of an error, over the slice.

import { byId } from "./dom.js";

const MESSAGE_MS = 8000;
let timer = 0;

/** Shows one line; an empty one takes it away. */
export function say(text, isError = false) {
  const line = byId("message");
  line.textContent = text;
  line.classList.toggle("is-error", isError);
  clearTimeout(timer);
  if (text) timer = setTimeout(() => say(""), isError ? 2 * MESSAGE_MS : MESSAGE_MS);
}

export function sayError(error) {
  say(error.message, true);
}
