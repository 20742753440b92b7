// Grey values of a slice and colours of masks as pictures. Pure but for the canvases they return.

export const STALE = "#9aa3ab"; // of a mask whose disks have changed
const COVERED = 65536;

// HU: air outside the body lies below the first, soft tissue and bone above the second.
const AIR_HU = -960;
const TISSUE_HU = -300;
const LUNG_SHARE = 0.15;
const MARGIN = 0.25;

/**
 * Returns a window made of a slice's own values: from its fat to its brightest tissue, and from
 * black air where much of its middle is lung; of a picture all of its values.
 */
export function automaticWindow(slice, isHu) {
  const some = sampleOf(slice, 0);
  const at = (values, share) => values[Math.floor(share * (values.length - 1))];
  if (!isHu) return { low: some[0], high: Math.max(at(some, 1), some[0] + 1) };
  const isTissue = (value) => value > TISSUE_HU;
  const tissue = some.filter(isTissue);
  // The table and the air around the body look like lung too, but lie at the border.
  const inside = sampleOf(slice, MARGIN).filter((value) => value > AIR_HU);
  const isLung = inside.filter(isTissue).length < (1 - LUNG_SHARE) * inside.length;
  if (tissue.length < 100 && !isLung) return { low: -150, high: 250 };
  const low = isLung ? -1000 : at(tissue, 0.02) - 30;
  return { low, high: Math.max(tissue.length ? at(tissue, 0.97) : 0, low + 200) };
}

// Some values of a slice, from the smallest; `margin`: share of its sides that is left out.
function sampleOf({ values, height, width }, margin) {
  const step = Math.max(1, Math.floor(Math.sqrt((height * width) / 40000)));
  const found = [];
  for (let y = Math.floor(margin * height); y < (1 - margin) * height; y += step) {
    for (let x = Math.floor(margin * width); x < (1 - margin) * width; x += step) {
      found.push(values[y * width + x]);
    }
  }
  return found.sort((a, b) => a - b);
}

const table = { key: "", values: new Uint8ClampedArray(COVERED) };

// Grey values of all that 16 bits can hold, from `first` on.
function tableOf({ low, high }, first) {
  const key = `${low} ${high} ${first}`;
  if (table.key !== key) {
    const scale = 255 / (high - low);
    for (let i = 0; i < COVERED; i += 1) table.values[i] = (i + first - low) * scale;
    table.key = key;
  }
  return table.values;
}

/** Draws a slice in a window into a canvas of its own size, one pixel per voxel. */
export function drawGrey(canvas, slice, window) {
  canvas.width = slice.width;
  canvas.height = slice.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(slice.width, slice.height);
  const pixels = new Uint32Array(image.data.buffer);
  const first = slice.values instanceof Uint16Array ? 0 : -COVERED / 2;
  const greys = tableOf(window, first);
  for (let i = 0; i < pixels.length; i += 1) {
    pixels[i] = 0xff000000 | (greys[slice.values[i] - first] * 0x010101);
  }
  context.putImageData(image, 0, 0);
}

/** Returns red, green and blue of a colour like "#e69f00", 0 to 255. */
export const rgbOf = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

/** Returns a canvas with a mask's pixels in one colour, the rest clear. */
export function fillOf(mask, colour) {
  const canvas = new OffscreenCanvas(mask.width, mask.height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(mask.width, mask.height);
  const pixels = new Uint32Array(image.data.buffer);
  const [red, green, blue] = rgbOf(colour);
  const packed = (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
  for (let i = 0; i < pixels.length; i += 1) if (mask.bytes[i]) pixels[i] = packed;
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Returns the outline of a mask along the edges of its pixels, as a path in voxel edges. */
export function outlineOf({ bytes, height, width }) {
  const path = new Path2D();
  const at = (y, x) => y >= 0 && x >= 0 && y < height && x < width && bytes[y * width + x] === 1;
  const box = boxOf({ bytes, height, width });
  if (!box) return path;
  const line = (isEdge, from, to, draw) => {
    for (let i = from; i <= to; i += 1) {
      if (!isEdge(i)) continue;
      const start = i;
      while (i + 1 <= to && isEdge(i + 1)) i += 1;
      draw(start, i + 1);
    }
  };
  for (let y = box.top; y <= box.bottom + 1; y += 1) {
    line((x) => at(y, x) !== at(y - 1, x), box.left, box.right, (a, b) => {
      path.moveTo(a, y);
      path.lineTo(b, y);
    });
  }
  for (let x = box.left; x <= box.right + 1; x += 1) {
    line((y) => at(y, x) !== at(y, x - 1), box.top, box.bottom, (a, b) => {
      path.moveTo(x, a);
      path.lineTo(x, b);
    });
  }
  return path;
}

/** Returns first and last row and column of a mask; null if it is empty. */
export function boxOf({ bytes, height, width }) {
  const first = bytes.indexOf(1);
  if (first < 0) return null;
  const box = { top: Math.floor(first / width), bottom: 0, left: width, right: 0 };
  for (let y = box.top; y < height; y += 1) {
    const row = bytes.subarray(y * width, (y + 1) * width);
    const left = row.indexOf(1);
    if (left < 0) continue;
    box.bottom = y;
    box.left = Math.min(box.left, left);
    box.right = Math.max(box.right, row.lastIndexOf(1));
  }
  return box;
}
