// Starts Swagger UI, and signs what it sends with the credentials typed into the form above it.

import { SCHEMES, hex } from "/docs/sign.js";

const STORE = "grps.docs.credentials";

const form = document.getElementById("signer");
const status = document.getElementById("signer-status");
const keeping = document.getElementById("keep");
const signedText = document.getElementById("signed-text");

/** The chosen scheme and its fields, or null while a field is empty. */
function credentials() {
  const scheme = form.elements.scheme.value;
  const inputs = [...form.querySelectorAll(`[data-scheme="${scheme}"] input`)];
  const fields = Object.fromEntries(inputs.map((input) => [input.dataset.field, input.value.trim()]));
  return { scheme, fields, complete: inputs.every((input) => input.value.trim() !== "") };
}

function showFields() {
  const { scheme } = credentials();
  for (const part of form.querySelectorAll("[data-scheme]")) part.hidden = part.dataset.scheme !== scheme;
  announce();
}

/** Leaves the fields to the tab's own storage, or takes them out of it. Storage may be forbidden; the form works without. */
function keep() {
  const inputs = [...form.querySelectorAll("[data-field]")];
  const kept = JSON.stringify({ scheme: form.elements.scheme.value, fields: inputs.map((input) => [input.id, input.value]) });
  try {
    if (keeping.checked) sessionStorage.setItem(STORE, kept);
    else sessionStorage.removeItem(STORE);
  } catch {}
}

function restore() {
  try {
    const { scheme, fields } = JSON.parse(sessionStorage.getItem(STORE));
    form.elements.scheme.value = scheme;
    for (const [id, value] of fields) document.getElementById(id).value = value;
    keeping.checked = true;
  } catch {}
}

/** Says what the next request will carry. */
function announce() {
  const { scheme, complete } = credentials();
  status.textContent = complete ? `Requests are sent with ${scheme}.` : "Requests are sent without credentials: a field is empty.";
}

/** Swagger UI calls this before it sends; loading the document needs no credentials. */
function sign(request) {
  const { scheme, fields, complete } = credentials();
  if (request.loadSpec || !complete) return request;
  const url = new URL(request.url, location.href);
  const given = { method: request.method.toUpperCase(), target: url.pathname + url.search, body: request.body ?? "" };
  const nonce = hex(crypto.getRandomValues(new Uint8Array(16)));
  const { signed, headers } = SCHEMES[scheme](fields, given, Math.floor(Date.now() / 1000), nonce);
  Object.assign(request.headers, headers);
  status.textContent = `${given.method} ${given.target} was sent with ${scheme}.`;
  signedText.textContent = signed ?? "Nothing: A2 sends the key itself.";
  return request;
}

form.addEventListener("input", () => {
  showFields();
  keep();
});
form.addEventListener("submit", (event) => event.preventDefault());
restore();
showFields();

// The form stands in for Swagger UI's own "Authorize", which cannot compute a signature.
const nothing = () => () => null;
const withoutAuthorize = () => ({ wrapComponents: { authorizeBtn: nothing, authorizeOperationBtn: nothing } });

window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  plugins: [withoutAuthorize],
  requestInterceptor: sign,
  validatorUrl: null,
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  defaultModelExpandDepth: 2,
});
