// Pure geometry of the view. Places are voxels (y, x) of the upright slice, centres at whole
// numbers, or CSS pixels (left, top) of the canvas; radii are display pixels, which are square.

const LEAST_REACH_PX = 3;

/** Returns the view in which a whole slice fits a canvas of `size`. */
export function fit(facts, size) {
  const [height, width] = facts.display_shape;
  const zoom = 0.97 * Math.min(size.width / width, size.height / height);
  return { zoom, y: (facts.shape[0] - 1) / 2, x: (facts.shape[1] - 1) / 2 };
}

/** Returns scale and offset of a view: a voxel's centre lies at offset + (place + .5) * scale. */
export function transformOf(view, facts, size) {
  const scaleY = view.zoom * facts.factors[0];
  const scaleX = view.zoom * facts.factors[1];
  return {
    zoom: view.zoom,
    scaleY,
    scaleX,
    offsetY: size.height / 2 - (view.y + 0.5) * scaleY,
    offsetX: size.width / 2 - (view.x + 0.5) * scaleX,
  };
}

export function toScreen(t, y, x) {
  return { top: t.offsetY + (y + 0.5) * t.scaleY, left: t.offsetX + (x + 0.5) * t.scaleX };
}

export function toVoxel(t, point) {
  return {
    y: (point.top - t.offsetY) / t.scaleY - 0.5,
    x: (point.left - t.offsetX) / t.scaleX - 0.5,
  };
}

/** Returns a place moved into the slice, to within its voxels' centres. */
export function inside(place, facts) {
  const [height, width] = facts.shape;
  return {
    y: Math.min(Math.max(place.y, 0), height - 1),
    x: Math.min(Math.max(place.x, 0), width - 1),
  };
}

/** Returns whether a place lies on the slice, its outermost voxels' edges included. */
export function isInside(place, facts) {
  const [height, width] = facts.shape;
  return place.y >= -0.5 && place.x >= -0.5 && place.y <= height - 0.5 && place.x <= width - 0.5;
}

/** Returns the view zoomed by `factor` with the voxel under `point` left where it is. */
export function zoomedAt(view, facts, size, point, factor) {
  const before = toVoxel(transformOf(view, facts, size), point);
  const least = 0.25 * fit(facts, size).zoom;
  const zoom = Math.min(Math.max(view.zoom * factor, least), 64);
  const after = toVoxel(transformOf({ ...view, zoom }, facts, size), point);
  return keptInReach({ zoom, y: view.y + before.y - after.y, x: view.x + before.x - after.x }, facts);
}

/** Returns the view moved by CSS pixels. */
export function panned(view, facts, left, top) {
  const [fy, fx] = facts.factors;
  const y = view.y - top / (view.zoom * fy);
  const x = view.x - left / (view.zoom * fx);
  return keptInReach({ ...view, y, x }, facts);
}

// The middle of the canvas always shows some of the slice, so that it cannot get lost.
function keptInReach(view, facts) {
  return { ...view, ...inside(view, facts) };
}

/** Returns the distance of two places in display pixels. */
export function distance(a, b, facts) {
  return Math.hypot((a.y - b.y) * facts.factors[0], (a.x - b.x) * facts.factors[1]);
}

const LEAST_RADIUS = 0.5;

/** Returns a radius cut to what the server takes. */
export function radiusWithin(radius, facts) {
  return Math.min(Math.max(radius, LEAST_RADIUS), Math.hypot(...facts.display_shape));
}

/** Returns the disk of a diameter that was drawn from one place to another. */
export function diskOfLine(a, b, facts) {
  return { y: (a.y + b.y) / 2, x: (a.x + b.x) / 2, radius: distance(a, b, facts) / 2 };
}

/** Returns where the four handles of a ring lie, CSS pixels. */
export function handlesOf(t, ring) {
  const { top, left } = toScreen(t, ring.y, ring.x);
  const r = ring.radius * t.zoom;
  return [
    { top: top - r, left },
    { top, left: left + r },
    { top: top + r, left },
    { top, left: left - r },
  ];
}

/**
 * Returns what of the rings lies under a point: the selected one's centre or a handle before the
 * centres of others; null for none.
 */
export function hit(t, rings, selected, point, reach) {
  // Of a small ring less, so that there is room to press beside it.
  const reachOf = (r) => Math.min(reach, Math.max(LEAST_REACH_PX, 0.4 * r.radius * t.zoom));
  const near = (r, p) => Math.hypot(p.top - point.top, p.left - point.left) <= reachOf(r);
  const ring = rings.find((r) => r.id === selected);
  if (ring) {
    if (near(ring, toScreen(t, ring.y, ring.x))) return { ring, part: "centre" };
    if (handlesOf(t, ring).some((p) => near(ring, p))) return { ring, part: "edge" };
  }
  const other = rings.findLast((r) => r.id !== selected && near(r, toScreen(t, r.y, r.x)));
  return other ? { ring: other, part: "centre" } : null;
}

/** Returns a place in patient coordinates, RAS+ mm; null if the volume has none. */
export function patientPoint(facts, slice, place) {
  if (!facts.affine) return null;
  const from = [slice, place.y, place.x, 1];
  return facts.affine.slice(0, 3).map((row) => row.reduce((sum, v, i) => sum + v * from[i], 0));
}

/** Returns a patient point as radiologists read it: "L 12.0 P 30.5 S 4.0 mm". */
export function patientText(point) {
  const named = point.map((v, i) => `${["RL", "AP", "SI"][i][v >= 0 ? 0 : 1]} ${Math.abs(v).toFixed(1)}`);
  return `${named.join("  ")} mm`;
}
