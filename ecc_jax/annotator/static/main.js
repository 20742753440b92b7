// Starts the page and ties its parts together.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { fit } from "./geometry.js";
import { listenTo } from "./gestures.js";
import { GESTURES, KEYS, listenToKeys, toggleFinished } from "./keys.js";
import { showLesions, showThumbnails } from "./lesions.js";
import { paint } from "./paint.js";
import * as panels from "./panels.js";
import { get, listen, redraw, set } from "./store.js";
import { sayError } from "./talk.js";
import { OpenVolume } from "./volume.js";
import { addLesion, deleteRing, goTo, openVolume, peekSlice, propagate, settle, travel, wantMeasures } from "./work.js";

const USUAL_FONT_PX = 14;
const canvas = byId("view");
let measured = "";

function frame(state) {
  if (canvas.width !== pixelsOf(state.size.width)) resize(); // the screen is another one
  settle(state);
  const now = get();
  if (now.facts && now.window.name === "auto" && now.window.of !== now.facts.id) {
    if (peekSlice(now.shown)) panels.chooseWindow(0);
  }
  const place = `${now.facts?.id} ${now.shown} ${now.lesion} ${now.session.version}`;
  if (now.facts && measured !== place) {
    measured = place;
    wantMeasures();
  }
  paint(canvas, get());
  panels.showControls(get());
  showLesions(get());
  showThumbnails(get());
}

const pixelsOf = (length) => Math.max(1, Math.round(length * devicePixelRatio));

/** Keeps the canvas as sharp as the screen, and a slice that was whole on it whole. */
function resize() {
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = pixelsOf(width);
  canvas.height = pixelsOf(height);
  const { facts, size, view } = get();
  const unit = parseFloat(getComputedStyle(document.body).fontSize) / USUAL_FONT_PX;
  const next = { width, height, unit };
  const wasWhole = facts && view && Math.abs(view.zoom - fit(facts, size).zoom) < 1e-6;
  set({ size: next, view: wasWhole ? fit(facts, next) : view });
}

function listenToControls() {
  const on = (id, run) => byId(id).addEventListener("click", run);
  on("undo", () => travel("undo"));
  on("redo", () => travel("redo"));
  on("positive", () => set({ positive: !get().positive }));
  on("delete", deleteRing);
  on("window-auto", () => panels.chooseWindow(0));
  on("hide", () => set({ hidden: !get().hidden }));
  on("outline", () => set({ outline: !get().outline }));
  on("propagate", propagate);
  on("finish", toggleFinished);
  on("add", addLesion);
  on("save", panels.openSave);
  on("keys", panels.openHelp);
  on("panel", () => document.body.classList.toggle("with-side"));
  byId("thumbnails").addEventListener("scroll", redraw);
  byId("opacity").addEventListener("input", (event) => set({ opacity: event.target.value / 100 }));
  byId("slice").addEventListener("input", (event) => goTo(Number(event.target.value)));
}

/** Draws anew when the window comes to a screen of another density. */
function listenToDensity() {
  const query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
  const changed = () => {
    redraw();
    listenToDensity();
  };
  query.addEventListener("change", changed, { once: true });
}

function listenToWindow() {
  new ResizeObserver(resize).observe(canvas);
  listenToDensity();
  addEventListener("beforeunload", (event) => {
    if (get().working) event.preventDefault();
  });
  // Another window may have changed the session meanwhile.
  addEventListener("focus", async () => {
    const volume = OpenVolume.current;
    const facts = volume && (await api.facts(volume.id).catch(() => null));
    if (facts) volume.notice(facts.session.version);
  });
}

async function start() {
  panels.fillHelp(KEYS, GESTURES);
  panels.listenToDialogs();
  listenToControls();
  listenTo(canvas);
  listenToKeys();
  listen(frame);
  listenToWindow();
  resize();
  try {
    await api.login();
    const { documents, formats, read_only: readOnly } = await api.documents();
    set({ documents, formats, readOnly });
    panels.showDocuments(documents, openVolume);
    if (documents.length === 1) await openVolume(documents[0].id);
  } catch (error) {
    sayError(error);
  }
  redraw();
}

start();
