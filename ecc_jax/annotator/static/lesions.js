// The list of lesions, the measures of the selected one, and the thumbnails of its slices.

import { byId, element, focusView } from "./dom.js";
import { boxOf, rgbOf, STALE } from "./shades.js";
import { select } from "./keys.js";
import { annotationOf, lesionOf, measuresOf, redraw } from "./store.js";
import { axisText, countText, goTo, maskOf, peekSlice, send, wantThumbnails } from "./work.js";

const THUMBNAIL = 96;
const MARGIN_PX = 12;
const number = (value, digits = 1) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
const drawnOn = new WeakMap(); // thumbnails: the mask and look that they show
let drawn = "";

/** Brings the list of lesions up to the state. */
export function showLesions(state) {
  const { session, lesion, shown } = state;
  if (byId("lesions").querySelector("input")) return; // a name is being written
  const told = session.lesions.map((one) => measuresOf(one.id, state));
  const wanted = JSON.stringify([session.lesions, lesion, shown, told]);
  if (wanted === drawn) return;
  drawn = wanted;
  const focused = document.activeElement?.closest?.("#lesions li")?.dataset.lesion;
  byId("lesions").replaceChildren(...session.lesions.map((one) => itemOf(one, state)));
  if (focused) byId("lesions").querySelector(`[data-lesion="${focused}"] .name`)?.focus();
  byId("measures").replaceChildren(...tablesOf(state));
}

function itemOf(lesion, state) {
  const told = measuresOf(lesion.id, state);
  const here = annotationOf(lesion, state.shown);
  const disks = lesion.slices.reduce((sum, slice) => sum + slice.rings.length, 0);
  const chip = element("span", { class: "chip" });
  chip.style.background = lesion.colour;
  const name = element("button", { class: "name" }, `${lesion.finished ? "✓ " : ""}${lesion.name}`);
  const tool = (text, title, run) =>
    element("button", { title, "aria-label": title, onclick: (event) => {
        event.stopPropagation();
        run();
      } }, text);
  const tools = element(
    "span",
    { class: "tools" },
    tool("✎", `Rename ${lesion.name}`, () => rename(lesion)),
    tool("×", `Remove ${lesion.name}`, () => send("remove", { lesion: lesion.id })),
  );
  const numbers = element(
    "span",
    { class: "numbers" },
    element("span", { class: "area" }, here ? areaText(told?.slice) : "not on this slice"),
    element("br"),
    element("span", { class: "volume" }, told ? volumeText(told.lesion) : countText(lesion.slices.length)),
    ` · ${disks} ${disks === 1 ? "disk" : "disks"}`,
  );
  const attributes = { "data-lesion": lesion.id, onclick: () => select(lesion.id) };
  if (lesion.id === state.lesion) attributes["aria-current"] = "true";
  return element("li", attributes, chip, name, tools, numbers);
}

function areaText(slice) {
  if (!slice) return "…";
  const { area_mm2: area, pixels } = slice;
  return area === null ? `${pixels} pixels` : `${number(area)} mm²`;
}

function volumeText({ volume_ml: volume, slices }) {
  const count = countText(slices);
  return volume === null ? count : `${number(volume, 2)} ml in ${count}`;
}

function longestText({ long_axis_mm: mm, long_axis_slice: slice }) {
  return Number.isFinite(mm) ? `${number(mm)} mm, slice ${slice + 1}` : "–";
}

function tablesOf(state) {
  const told = measuresOf(state.lesion, state);
  const lesion = lesionOf(state.lesion, state);
  if (!lesion) return ["select a lesion"];
  if (!told) return [lesion.slices.length ? "…" : "press the lesion first"];
  const unit = state.facts.is_hu ? " HU" : "";
  const values = (one) => ["mean ± SD", `${number(one.mean_hu, 0)} ± ${number(one.sd_hu, 0)}${unit}`];
  const axis = (one, name) => axisText(one[`${name}_axis`], one[`${name}_axis_mm`], state.facts);
  const tables = [];
  const { slice } = told;
  if (slice) {
    tables.push(
      table("on this slice", [
        ["area", areaText(slice)],
        ["long axis", axis(slice, "long")],
        ["short axis", axis(slice, "short")],
        values(slice),
      ]),
    );
  }
  const whole = told.lesion;
  tables.push(
    table(`${lesion.name}, all slices`, [
      ["volume", volumeText(whole)],
      ...(whole.long_axis_mm === null ? [] : [["longest axis", longestText(whole)]]),
      values(whole),
    ]),
  );
  return tables;
}

function table(title, rows) {
  const lines = rows.map((cells) => element("tr", {}, ...cells.map((text) => element("td", {}, text))));
  return element("table", {}, element("caption", {}, title), element("tbody", {}, ...lines));
}

function rename(lesion) {
  const item = byId("lesions").querySelector(`[data-lesion="${lesion.id}"]`);
  const input = element("input", { type: "text", value: lesion.name, maxlength: 64, "aria-label": "Name" });
  const done = (isKept) => {
    if (!input.isConnected) return;
    const name = input.value.trim();
    input.removeEventListener("blur", leave);
    drawn = ""; // the list is made anew
    input.remove();
    focusView();
    if (isKept && name && name !== lesion.name) send("rename", { lesion: lesion.id, name });
    else redraw();
  };
  const leave = () => done(true);
  input.addEventListener("blur", leave);
  input.addEventListener("click", (event) => event.stopPropagation());
  input.addEventListener("keydown", (event) => {
    if (!event.isComposing && ["Enter", "Escape"].includes(event.key)) {
      event.stopPropagation();
      done(event.key === "Enter");
    }
  });
  item.querySelector(".name").replaceWith(input);
  input.select();
}

/** Brings the thumbnails up to the state: one per slice with a mask of the selected lesion. */
export function showThumbnails(state) {
  const strip = byId("thumbnails");
  const lesion = lesionOf(state.lesion, state);
  const slices = lesion?.slices ?? [];
  const wanted = [state.facts?.id, lesion?.id, ...slices.map((s) => `${s.slice} ${s.is_propagated}`)].join();
  if (strip.dataset.of !== wanted) {
    strip.dataset.of = wanted;
    strip.replaceChildren(...slices.map(thumbnailOf));
  }
  slices.forEach((annotation, i) => {
    const button = strip.children[i];
    const isCurrent = annotation.slice === state.shown;
    const has = button.getAttribute("aria-current") === "true";
    if (isCurrent) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (isCurrent && !has) bringIntoView(strip, button);
    const note = annotation.is_propagated ? "propagated" : "drawn";
    button.title = `slice ${annotation.slice + 1}, ${note}`;
    drawThumbnail(button.firstChild, lesion, annotation, state);
  });
  // Only those in sight are loaded: a lesion of the liver may have two hundred slices.
  const seen = [...strip.children].filter(
    ({ offsetLeft: left, offsetWidth: width }) =>
      left + width > strip.scrollLeft && left < strip.scrollLeft + strip.clientWidth,
  );
  wantThumbnails(lesion?.id, seen.map((button) => Number(button.dataset.slice)));
}

function bringIntoView(strip, { offsetLeft: left, offsetWidth: width }) {
  const most = left - MARGIN_PX;
  const least = left + width + MARGIN_PX - strip.clientWidth;
  strip.scrollLeft = Math.max(Math.min(strip.scrollLeft, most), least);
}

function thumbnailOf({ slice, is_propagated: isPropagated }) {
  const canvas = element("canvas", { width: THUMBNAIL, height: THUMBNAIL });
  const attributes = { "data-slice": slice, onclick: () => goTo(slice) };
  return element("button", attributes, canvas, element("span", {}, `${slice + 1}${isPropagated ? "" : " ●"}`));
}

function drawThumbnail(canvas, lesion, annotation, state) {
  const slice = peekSlice(annotation.slice);
  const entry = maskOf(lesion.id, annotation.slice);
  if (!slice || !entry?.mask) return;
  const { low, high } = state.window;
  const hex = entry.isStale ? STALE : lesion.colour;
  const before = drawnOn.get(canvas);
  if (before?.mask.deref() === entry.mask && before.look === `${hex} ${low} ${high}`) return;
  drawnOn.set(canvas, { mask: new WeakRef(entry.mask), look: `${hex} ${low} ${high}` });
  const ring = annotation.rings[0];
  const box = boxOf(entry.mask) ?? { top: ring.y, bottom: ring.y, left: ring.x, right: ring.x };
  const [fy, fx] = state.facts.factors;
  const side = 2 * Math.max((box.bottom - box.top + 1) * fy, (box.right - box.left + 1) * fx, 12);
  const [y, x] = [(box.top + box.bottom) / 2, (box.left + box.right) / 2];
  const context = canvas.getContext("2d");
  const image = context.createImageData(THUMBNAIL, THUMBNAIL);
  const at = (row, column) => row * slice.width + column;
  const isMask = (row, column) => entry.mask.bytes[at(row, column)] === 1;
  const colour = rgbOf(hex);
  for (let i = 0; i < THUMBNAIL * THUMBNAIL; i += 1) {
    const row = Math.round(y + ((Math.floor(i / THUMBNAIL) / THUMBNAIL - 0.5) * side) / fy);
    const column = Math.round(x + (((i % THUMBNAIL) / THUMBNAIL - 0.5) * side) / fx);
    if (row < 0 || column < 0 || row >= slice.height || column >= slice.width) continue;
    const grey = (255 * (slice.values[at(row, column)] - low)) / (high - low);
    const share = isMask(row, column) ? 0.35 : 0;
    const rgb = colour.map((c) => share * c + (1 - share) * Math.min(Math.max(grey, 0), 255));
    image.data.set([...rgb, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}
