// The four ways to prove who is calling, worked out in the page, so that a secret need not leave it. SHA-256 is written out here because
// browsers lend theirs only to pages from https or localhost, and many a group opens this page over plain http on its own network.

const utf8 = new TextEncoder();

const PRIMES = [];
for (let n = 2; PRIMES.length < 64; n++) if (PRIMES.every((prime) => n % prime)) PRIMES.push(n);
const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) | 0;
const START = PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
const ROUND = PRIMES.map((prime) => fraction(Math.cbrt(prime)));
const turn = (x, by) => (x >>> by) | (x << (32 - by));

/** SHA-256 of bytes, as bytes (FIPS 180-4). */
export function sha256(bytes) {
  const padded = new Uint8Array(((bytes.length + 72) >> 6) << 6);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(padded.length - 4, bytes.length << 3);
  const state = Int32Array.from(START);
  const w = new Int32Array(64);
  for (let block = 0; block < padded.length; block += 64) compress(state, w, view, block);
  const out = new DataView(new ArrayBuffer(32));
  state.forEach((word, i) => out.setInt32(i * 4, word));
  return new Uint8Array(out.buffer);
}

function compress(state, w, view, block) {
  for (let i = 0; i < 64; i++) {
    if (i < 16) {
      w[i] = view.getInt32(block + i * 4);
      continue;
    }
    const [x, y] = [w[i - 15], w[i - 2]];
    const low = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3);
    const high = turn(y, 17) ^ turn(y, 19) ^ (y >>> 10);
    w[i] = w[i - 16] + low + w[i - 7] + high;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUND[i] + w[i];
    const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
  }
  [a, b, c, d, e, f, g, h].forEach((word, i) => (state[i] += word));
}

/** HMAC-SHA256 of a text under a text, as hex (RFC 2104). */
export function hmac(secret, text) {
  let key = utf8.encode(secret);
  if (key.length > 64) key = sha256(key);
  const pad = (byte) => Uint8Array.from({ length: 64 }, (_, i) => (key[i] ?? 0) ^ byte);
  return hex(sha256(join(pad(0x5c), sha256(join(pad(0x36), utf8.encode(text))))));
}

/** Lower-case hex of bytes. */
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function join(left, right) {
  const out = new Uint8Array(left.length + right.length);
  out.set(left);
  out.set(right, left.length);
  return out;
}

/**
 * The headers that prove a request, and the text that was signed (null where nothing is).
 *
 * `request` has `method`, `target` (path with query) and `body` (text); `at` is unix seconds; `nonce` is 8 to 64 characters, used once.
 */
export const SCHEMES = {
  A6({ kid, secret }, request, at, nonce) {
    const body = hex(sha256(utf8.encode(request.body)));
    const signed = `${at}.${nonce}.${request.method}.${request.target}.${body}`;
    const signature = `v2,${kid},${hmac(secret, signed)}`;
    return { signed, headers: { "x-grps-timestamp": `${at}`, "x-grps-nonce": nonce, "x-grps-signature-v2": signature } };
  },
  A2({ key }) {
    return { signed: null, headers: { "x-grps-api-key": key } };
  },
  A1({ secret }, request) {
    return { signed: request.body, headers: { "x-grps-signature": hmac(secret, request.body) } };
  },
  A3({ key, secret }, _request, at) {
    return { signed: `${at}`, headers: { "x-api-key": key, "x-timestamp": `${at}`, "x-signature": hmac(secret, `${at}`) } };
  },
};
