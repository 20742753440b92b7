// Elements of the page.

export const byId = (id) => document.getElementById(id);

/** Gives the keys to the slice. */
export const focusView = () => byId("view").focus({ preventScroll: true });

/** Returns an element with attributes, texts and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
