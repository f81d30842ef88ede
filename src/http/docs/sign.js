// The signature schemes of the API, computed with the browser's own WebCrypto. Pure: no page, no state.
"use strict";

(() => {
  const utf8 = (text) => new TextEncoder().encode(text);
  const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

  async function hmac(secret, message) {
    const key = await crypto.subtle.importKey("raw", utf8(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    return hex(await crypto.subtle.sign("HMAC", key, utf8(message)));
  }

  async function sha256(message) {
    return hex(await crypto.subtle.digest("SHA-256", utf8(message)));
  }

  // Headers for one request. `request` is { method, target, body }: target is path?query, body the exact text sent ("" for none).
  // `now` is Unix seconds and `nonce` any text used once; both are given so that a test can repeat a signature.
  async function headers(scheme, keys, request, now, nonce) {
    const timestamp = String(now);
    switch (scheme) {
      case "A1":
        return { "x-grps-signature": await hmac(keys.secret, request.body) };
      case "A2":
        return { "x-grps-api-key": keys.apiKey };
      case "A3":
        return { "X-API-KEY": keys.apiKey, "X-TIMESTAMP": timestamp, "X-SIGNATURE": await hmac(keys.secret, timestamp) };
      case "A6": {
        const hash = await sha256(request.body);
        const message = [timestamp, nonce, request.method.toUpperCase(), request.target, hash].join(".");
        return {
          "x-grps-timestamp": timestamp,
          "x-grps-nonce": nonce,
          "x-grps-signature-v2": `v2,${keys.keyId},${await hmac(keys.secret, message)}`,
        };
      }
      default:
        return {};
    }
  }

  const nonce = () => hex(crypto.getRandomValues(new Uint8Array(16)));

  globalThis.grpsSign = { headers, nonce };
})();
