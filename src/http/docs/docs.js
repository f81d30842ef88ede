// The documentation page: the signing form, and Swagger UI with an interceptor that adds the headers.
"use strict";

(() => {
  const STORE = "grps.docs.signer";
  const NEEDS = { none: [], A1: ["secret"], A2: ["apiKey"], A3: ["apiKey", "secret"], A6: ["secret"] };
  const NAMES = { apiKey: "the API key", secret: "the secret" };
  const field = (id) => document.getElementById(id);
  const hashes = Boolean(globalThis.crypto && crypto.subtle);

  function keys() {
    return { apiKey: field("apiKey").value, secret: field("secret").value, keyId: field("keyId").value || "default" };
  }

  function missing(scheme) {
    return NEEDS[scheme].filter((id) => !field(id).value).map((id) => NAMES[id]);
  }

  function describe() {
    const scheme = field("scheme").value;
    const lacks = missing(scheme);
    if (scheme === "none") return ["", "Requests are sent without a credential."];
    if (!hashes && scheme !== "A2") {
      return ["bad", `This browser computes signatures only on https pages and on localhost. Open this page as ` +
        `${location.protocol}//localhost:${location.port || 80}${location.pathname} on the server's own machine, or through https.`];
    }
    if (lacks.length) return ["bad", `Enter ${lacks.join(" and ")}.`];
    return ["good", `Each request is signed with ${scheme}${scheme === "A6" ? ` as key “${keys().keyId}”` : ""}.`];
  }

  function update() {
    const scheme = field("scheme").value;
    for (const element of document.querySelectorAll("[data-for]")) {
      element.hidden = !element.dataset.for.split(" ").includes(scheme);
    }
    const type = field("show").checked ? "text" : "password";
    field("apiKey").type = type;
    field("secret").type = type;
    const [kind, text] = describe();
    field("status").className = kind;
    field("status").textContent = text;
    save();
  }

  // sessionStorage belongs to this tab and ends with it; without the tick nothing is written at all.
  function save() {
    try {
      if (!field("keep").checked) return sessionStorage.removeItem(STORE);
      const { apiKey, secret } = keys();
      sessionStorage.setItem(STORE, JSON.stringify({ scheme: field("scheme").value, apiKey, secret, keyId: field("keyId").value }));
    } catch {
      // Storage may be forbidden; the form works without it.
    }
  }

  function restore() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(STORE) || "null");
      if (!kept) return;
      for (const id of ["scheme", "apiKey", "secret", "keyId"]) field(id).value = kept[id] || "";
      field("keep").checked = true;
    } catch {
      // As above.
    }
  }

  function forget() {
    for (const id of ["apiKey", "secret", "keyId"]) field(id).value = "";
    field("keep").checked = false;
    update();
    field("scheme").focus();
  }

  async function sign(request) {
    const scheme = field("scheme").value;
    if (request.loadSpec || scheme === "none" || missing(scheme).length || (!hashes && scheme !== "A2")) return request;
    const url = new URL(request.url, location.href);
    const body = typeof request.body === "string" ? request.body : "";
    const seconds = Math.floor(Date.now() / 1000);
    const sent = { method: request.method || "GET", target: url.pathname + url.search, body };
    const added = await grpsSign.headers(scheme, keys(), sent, seconds, grpsSign.nonce());
    request.headers = { ...request.headers, ...added };
    return request;
  }

  restore();
  field("signer").addEventListener("input", update);
  field("signer").addEventListener("submit", (event) => event.preventDefault());
  field("forget").addEventListener("click", forget);
  update();

  globalThis.ui = SwaggerUIBundle({
    dom_id: "#api",
    url: "/openapi.json",
    deepLinking: true,
    displayRequestDuration: true,
    docExpansion: "list",
    filter: true,
    persistAuthorization: false,
    requestInterceptor: sign,
    tryItOutEnabled: true,
    validatorUrl: null,
  });
})();
