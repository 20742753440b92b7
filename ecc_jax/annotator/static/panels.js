// Everything around the canvas: buttons, lists, dialogs.

import * as api from "./api.js";
import { byId, element, focusView } from "./dom.js";
import { patientPoint, patientText } from "./geometry.js";
import { automaticWindow } from "./shades.js";
import { get, lesionOf, set } from "./store.js";
import { say, sayError } from "./talk.js";
import { OpenVolume } from "./volume.js";
import { countText, sliceOf, valueText } from "./work.js";

const SAVE_WITHIN_MS = 10000;

/** Chooses a window: 0 that of the shown slice's own values, 1 to 5 a preset. */
export function chooseWindow(number) {
  const { facts, shown } = get();
  const slice = sliceOf(shown);
  if (!facts || !slice) return;
  if (number === 0) {
    set({ window: { ...automaticWindow(slice, facts.is_hu), name: "auto", of: facts.id } });
    return;
  }
  if (!facts.is_hu) {
    say("a picture has no Hounsfield units; hold W and drag to change its window");
    return;
  }
  const preset = facts.presets[number - 1];
  const { level, width, name } = preset;
  set({ window: { low: level - width / 2, high: level + width / 2, name } });
}

/** Makes the buttons of the presets, in the order of the keys 1 to 5. */
function showPresets(facts) {
  const buttons = facts.presets.map((preset, i) =>
    element(
      "button",
      {
        id: `window-${preset.name.replaceAll(" ", "-")}`,
        title: `Window ${preset.width}, level ${preset.level} (${i + 1})`,
        onclick: () => chooseWindow(i + 1),
      },
      preset.name,
    ),
  );
  byId("presets").replaceChildren(...buttons);
}

let shownFacts = null;

/** Brings buttons and texts up to the state. */
export function showControls(state) {
  const { facts, session, window } = state;
  if (facts && shownFacts !== facts) {
    if (shownFacts?.id !== facts.id) showPresets(facts);
    shownFacts = facts;
    const remarks = [...facts.remarks, ...session.remarks];
    byId("remarks").replaceChildren(...remarks.map((text) => element("li", {}, text)));
    byId("slice").max = facts.num_slices - 1;
  }
  const list = byId("documents");
  list.disabled = Boolean(state.opening);
  if (!state.opening && document.activeElement !== list) list.value = facts?.id ?? list.options[0]?.value;
  const lesion = lesionOf(state.lesion, state);
  const isOpen = facts && !state.readOnly && !state.opening;
  enable("undo", session.can_undo && isOpen);
  enable("redo", session.can_redo && isOpen);
  enable("delete", state.ring !== null && isOpen);
  enable("propagate", lesion && isOpen && !state.task);
  enable("finish", lesion && isOpen);
  enable("add", isOpen);
  enable("save", isOpen && state.formats.length);
  byId("finish").textContent = lesion?.finished ? "Reopen" : "Finish";
  pressed("hide", state.hidden);
  pressed("outline", state.outline);
  pressed("positive", state.positive);
  byId("positive").textContent = state.positive ? "+ Lesion" : "− Background";
  pressed("window-auto", window.name === "auto");
  for (const button of byId("presets").children) {
    button.setAttribute("aria-pressed", button.textContent === window.name);
    button.disabled = !facts?.is_hu;
  }
  assign(byId("opacity"), Math.round(100 * state.opacity));
  assign(byId("slice"), state.slice);
  byId("slice").setAttribute("aria-valuetext", `slice ${state.slice + 1}`);
  byId("facts").textContent = factsText(state);
}

function enable(id, isEnabled) {
  byId(id).disabled = !isEnabled;
}

function pressed(id, isPressed) {
  byId(id).setAttribute("aria-pressed", isPressed);
}

function assign(input, value) {
  if (Number(input.value) !== value) input.value = value;
}

function factsText(state) {
  const { facts, shown, window, cursor, ms } = state;
  if (!facts) return "";
  const { low, high } = window;
  const lines = [`${facts.name}, slice ${shown + 1}/${facts.num_slices}`];
  const place = cursor ?? state.hover;
  const slice = sliceOf(shown);
  if (place && slice) {
    const [y, x] = [Math.round(place.y), Math.round(place.x)];
    const point = patientPoint(facts, shown, place);
    lines.push(`${valueText(slice, place, facts)} at row ${y}, column ${x}`);
    if (point) lines.push(patientText(point));
  }
  const spacing = facts.spacing_mm?.map((s) => s.toFixed(2)).join(" × ");
  lines.push(spacing ? `voxel ${spacing} mm` : "voxel size unknown");
  lines.push(`window ${Math.round(high - low)}, level ${Math.round((low + high) / 2)}`);
  if (ms !== null) lines.push(`last answer ${Math.round(ms)} ms`);
  if (state.working > 1) lines.push(`${state.working} changes not saved yet`);
  return lines.join("\n");
}

/** Fills the list of what can be opened. */
export function showDocuments(documents, onOpen) {
  const list = byId("documents");
  const options = documents.map(({ id, name, kind, detail }) =>
    element("option", { value: id, "data-id": id }, [name, kind, detail].filter(Boolean).join(", ")),
  );
  if (documents.length > 1) {
    options.unshift(element("option", { value: "" }, "choose a volume …"));
  }
  list.replaceChildren(...options);
  const open = () => {
    const chosen = list.value;
    list.blur(); // the list says what is open, not what was chosen
    if (chosen) onOpen(chosen);
  };
  // Arrows walk through the list; Enter opens.
  let isByKeys = false;
  list.addEventListener("pointerdown", () => {
    isByKeys = false;
  });
  list.addEventListener("keydown", ({ key }) => {
    isByKeys = key !== "Enter";
    if (!isByKeys) open();
  });
  list.addEventListener("change", () => isByKeys || open());
}

/** Opens the help, which is made of the same tables that keys are looked up in. */
export function openHelp() {
  byId("help").showModal();
}

const NAMES = { " ": "Space", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", PageUp: "Page ↑", PageDown: "Page ↓", Escape: "Esc" };

function keyName(wanted) {
  const { key, ctrl, shift } = typeof wanted === "string" ? { key: wanted } : wanted;
  const name = NAMES[key] ?? (key.length === 1 ? key.toUpperCase() : key);
  return `${ctrl ? "Ctrl+" : ""}${shift ? "Shift+" : ""}${name}`;
}

/** Writes the help from the tables of keys and gestures. */
export function fillHelp(keys, gestures) {
  const table = (title, rows) => {
    const lines = rows.map(([names, text]) => {
      const cells = names.flatMap((name) => [name, " "]);
      return element("tr", {}, element("td", {}, ...cells), element("td", {}, text));
    });
    return element("table", {}, element("caption", {}, title), element("tbody", {}, ...lines));
  };
  const groups = [...new Set(keys.map((row) => row.group))];
  byId("help-tables").replaceChildren(
    table("Mouse, pen and touch", gestures.map(([what, text]) => [[what], text])),
    ...groups.map((group) => {
      const rows = keys.filter((row) => row.group === group);
      const named = (row) => row.keys.map((key) => element("kbd", {}, keyName(key)));
      return table(group, rows.map((row) => [named(row), row.text]));
    }),
  );
}

let saving = null; // the volume that the dialog is about

/** Opens the dialog that saves. */
export function openSave() {
  const { formats, facts, opening, readOnly } = get();
  if (readOnly) {
    say("started with --read-only: nothing can be saved", true);
    return;
  }
  if (!formats.length || opening) return;
  saving = OpenVolume.current;
  const canSave = ({ kinds }) => !kinds || kinds.includes(facts.kind);
  const first = formats.find(canSave);
  const radios = formats.map((format) => {
    const { name, meaning } = format;
    const attributes = { type: "radio", name: "format", value: name };
    if (format === first) attributes.checked = "";
    if (!canSave(format)) attributes.disabled = "";
    return element("label", {}, element("input", attributes), ` ${name}: ${meaning}`);
  });
  byId("formats").replaceChildren(element("legend", {}, "Format"), ...radios);
  byId("saved").textContent = "";
  byId("save-dialog").showModal();
}

async function saveNow() {
  const chosen = document.querySelector("input[name=format]:checked");
  const button = byId("save-now");
  button.disabled = true;
  byId("saved").textContent = "saving …";
  try {
    if (!(await saving.isIdleWithin(SAVE_WITHIN_MS))) {
      throw new Error("a change or a propagation has not ended; wait for it, then save again");
    }
    const told = await api.save(saving.id, chosen.value, saving.version);
    byId("saved").textContent = savedText(told);
  } catch (error) {
    if (error.reason === "version") saving.reload();
    byId("saved").textContent = `not saved: ${error.message}`;
    if (error.status === 0) sayError(error);
  } finally {
    button.disabled = false;
  }
}

function savedText({ files, folder, left_out: leftOut, unfinished }) {
  const lines = [`saved in the folder ${folder}:`, ...files];
  for (const { lesion, slices, why } of leftOut) {
    const where = slices.length ? ` in ${countText(slices.length)}: ${slices.map((s) => s + 1).join(", ")}` : "";
    lines.push(`left out of ${lesion}${where} (${why})`);
  }
  if (unfinished.length) lines.push(`saved, though not finished: ${unfinished.join(", ")}`);
  return lines.join("\n");
}

/** Connects the buttons of the dialogs. */
export function listenToDialogs() {
  byId("save-now").addEventListener("click", saveNow);
  byId("save-close").addEventListener("click", () => byId("save-dialog").close());
  // Keys are the slice's again, not those of the button that has opened the dialog.
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("close", focusView);
  }
}
