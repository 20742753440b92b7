// Requests to the server that this page came from; its README lists them.

/** A request that was refused; `status` is that of HTTP, 0 where nobody answers; `reason` of a 409. */
class ApiError extends Error {
  constructor(status, message, reason = "") {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

const SILENT = "the annotator does not answer; is it still running in its terminal?";
const TIMEOUT_MS = 30000; // opening and saving a large volume take longer, and are waited for

async function request(method, path, read, body, timeout) {
  const options = { method, credentials: "same-origin" };
  if (timeout) options.signal = AbortSignal.timeout(timeout);
  if (body !== undefined) {
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let response, told;
  try {
    response = await fetch(path, options);
    told = await (response.ok ? read(response) : response.json());
  } catch {
    // Nobody has answered, or not to the end.
    throw new ApiError(0, SILENT);
  }
  if (!response.ok) throw new ApiError(response.status, told.error, told.reason);
  return told;
}

const json = (method, path, ...rest) => request(method, path, (response) => response.json(), ...rest);
const place = (id) => `/api/documents/${encodeURIComponent(id)}`;

/** Exchanges the secret of the address for a cookie, and takes it out of the address bar. */
export async function login() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  await json("POST", "/api/login", { token });
  history.replaceState(null, "", location.pathname);
}

export const documents = () => json("GET", "/api/documents");
export const open = (id) => json("POST", `${place(id)}/open`, {});
export const facts = (id) => json("GET", place(id));
export const event = (id, kind, body) =>
  json("POST", `${place(id)}/${kind}`, body, kind === "propagate" ? 0 : TIMEOUT_MS);
export const save = (id, format, version) => json("POST", `${place(id)}/save`, { format, version });
export const measures = (id, lesion, slice) =>
  json("GET", `${place(id)}/measures/${lesion}?slice=${slice}`);

/** Returns a slice: `values` (16 bits each, row by row) with `height` and `width`. */
export const slice = (id, index) => request("GET", `${place(id)}/slices/${index}`, readSlice);

async function readSlice(response) {
  const [height, width] = response.headers.get("x-shape").split(",").map(Number);
  // The server sends little-endian numbers, which is how every browser of today keeps them.
  const Values = response.headers.get("x-dtype") === "uint16" ? Uint16Array : Int16Array;
  return { height, width, values: new Values(await response.arrayBuffer()) };
}

/** Returns a mask: `bytes` (Uint8Array of 0 and 1, row by row) with `height`, `width`, `ms`, `warning`, `version`. */
export async function mask(id, lesion, index) {
  const told = await json("GET", `${place(id)}/masks/${lesion}/${index}?format=bits`);
  const [height, width] = told.shape;
  const packed = atob(told.bits);
  const bytes = new Uint8Array(height * width);
  for (let i = 0; i < bytes.length; i += 1) {
    bytes[i] = (packed.charCodeAt(i >> 3) >> (7 - (i & 7))) & 1;
  }
  return { height, width, bytes, ms: told.ms, warning: told.warning, version: told.version };
}
