// The documentation page as a person uses it: Swagger UI in Debian's Chromium, signing requests and sending them to a real server.
//
//   node tests/browser/docs.mjs target/debug/grps     screenshots go to target/browser/

import assert from "node:assert/strict";
import { createHash, createHmac, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import test, { after, before } from "node:test";

import { chromium } from "playwright-core";

import { SECRETS, startServer } from "./server.mjs";

const SHOTS = "target/browser";
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
// Without these Chromium calls home at start, which the test would rightly count against the page.
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const SEED = {
  userId: 12345678, username: "ArcTrooper", displayName: "Arc", rank: "Volt Specialist II", rankPoints: 520, kos: 84, wos: 12,
  warnings: 1, recommendations: 0, punishmentStatus: null,
  experience: { universeId: 987654321, placeId: 1234567890, server: "vip-3" },
};

let server, profile, context, page;
const requested = [];
const complaints = [];

before(async () => {
  assert.ok(existsSync(CHROMIUM), `${CHROMIUM} is missing: apt-get install chromium, or name another with CHROMIUM=…`);
  mkdirSync(SHOTS, { recursive: true });
  server = await startServer(resolve(process.argv[2] ?? "target/debug/grps"));
  profile = mkdtempSync(join(tmpdir(), "grps-chromium-"));
  context = await chromium.launchPersistentContext(profile, { executablePath: CHROMIUM, args: FLAGS, viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(15_000);
  context.on("request", (request) => requested.push(request.url()));
  page = await context.newPage();
  // A refused policy (CSP), a script error and a failed load all arrive here.
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(`${server.origin}/docs`);
  await page.locator(".opblock").first().waitFor();
});

after(async () => {
  await context?.close();
  if (profile) rmSync(profile, { recursive: true, force: true });
  await server?.stop();
});

/** Opens an operation, whose "Try it out" form opens with it. */
async function tryOut(id) {
  const block = page.locator(`.opblock[id$="-${id}"]`);
  if (!(await block.getAttribute("class")).includes("is-open")) await block.locator(".opblock-summary-control").click();
  await block.locator(".execute").waitFor();
  return block;
}

/** Presses "Execute" and gives what the server answered and what Swagger UI shows of it. */
async function execute(block) {
  const done = page.waitForResponse((response) => response.request().resourceType() === "fetch");
  await block.locator(".execute").click();
  const response = await done;
  const shown = block.locator(".live-responses-table .response");
  await shown.locator(".response-col_status", { hasText: String(response.status()) }).waitFor();
  return { status: response.status(), sent: response.request().headers(), body: await response.json(), text: await shown.innerText() };
}

async function signAs(scheme, fields) {
  await page.locator(`#signer input[value="${scheme}"]`).check();
  for (const [field, value] of Object.entries(fields)) await page.locator(`#${scheme.toLowerCase()}-${field}`).fill(value);
}

test("the page shows every operation of the document", async () => {
  const document = await (await fetch(`${server.origin}/openapi.json`)).json();
  const published = Object.values(document.paths).flatMap((item) => Object.values(item).map((operation) => operation.operationId));
  const shown = await page.locator(".opblock").evaluateAll((blocks) => blocks.map((block) => block.id.split("-").at(-1)));
  assert.deepEqual(shown.sort(), published.sort());
  assert.ok(shown.length >= 20, `${shown.length} operations`);
});

test("the page's SHA-256 and HMAC are the standard's", async () => {
  const texts = [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 70_000].map((length) => randomBytes(length).toString("latin1"));
  const secrets = texts.map((_, i) => randomBytes(i * 12).toString("base64"));
  const made = await page.evaluate(async ([texts, secrets]) => {
    const { hex, hmac, sha256 } = await import("/docs/sign.js");
    return texts.map((text, i) => [hex(sha256(new TextEncoder().encode(text))), hmac(secrets[i], text)]);
  }, [texts, secrets]);
  const expected = texts.map((text, i) => [
    createHash("sha256").update(text).digest("hex"),
    createHmac("sha256", secrets[i]).update(text).digest("hex"),
  ]);
  assert.deepEqual(made, expected);
});

test("a request without credentials says what is missing", async () => {
  const { status, body } = await execute(await tryOut("ingestPlayerActivity"));
  assert.equal(status, 401);
  assert.equal(body.code, "auth.credentials_missing");
  assert.match(await page.locator("#signer-status").textContent(), /without credentials/);
  // Chromium logs every failed load; this one is what we asked for.
  assert.match(complaints.pop() ?? "", /401/);
});

test("the example is the seed's snapshot, and A2 posts it and shows the decision", async () => {
  await signAs("A2", { key: SECRETS.INBOUND_API_KEYS });
  const block = await tryOut("ingestPlayerActivity");
  assert.deepEqual(JSON.parse(await block.locator("textarea.body-param__text").inputValue()), SEED);
  await block.locator('tr[data-param-name="x-grps-evaluate"] select').selectOption("true");
  const { status, body, sent, text } = await execute(block);
  assert.equal(status, 200, text);
  assert.equal(sent["x-grps-api-key"], SECRETS.INBOUND_API_KEYS);
  assert.equal(body.decision.reason, "230 points short of Storm Corporal I (750 required)");
  assert.ok(text.includes("230 points short of Storm Corporal I"), "the decision is on the page");
});

test("A6 signs body and query, and every request anew", async () => {
  await signAs("A6", { kid: "operator", secret: server.operator });
  const ingest = await tryOut("ingestPlayerActivity");
  const first = await execute(ingest);
  const second = await execute(ingest);
  assert.deepEqual([first.status, second.status], [200, 200]);
  assert.notEqual(first.sent["x-grps-nonce"], second.sent["x-grps-nonce"]);
  assert.equal(first.sent["x-grps-api-key"], undefined);
  const snapshots = await tryOut("getPlayerSnapshots");
  await snapshots.locator('tr[data-param-name="userId"] input').fill("12345678");
  const { status, body, text } = await execute(snapshots);
  assert.equal(status, 200, text);
  assert.equal(body.snapshots.length, 3, text);
  const signed = await page.locator("#signed-text").textContent();
  assert.match(signed, /^\d+\.[0-9a-f]{32}\.GET\.\/players\/12345678\/snapshots\?limit=\d+\.[0-9a-f]{64}$/);
});

test("A1 signs a decision request", async () => {
  await signAs("A1", { secret: SECRETS.AUTOMATION_SIGNATURE_SECRET });
  const block = await tryOut("decide");
  const { status, sent, body, text } = await execute(block);
  assert.equal(status, 200, text);
  assert.match(sent["x-grps-signature"], /^[0-9a-f]{64}$/);
  assert.equal(body.decisions[0].action, "NONE");
});

test("A3 signs a submitted score", async () => {
  await signAs("A3", { key: SECRETS.API_KEY, secret: SECRETS.HMAC_SECRET });
  const { status, sent, text } = await execute(await tryOut("submit_score"));
  assert.equal(status, 200, text);
  assert.match(sent["x-signature"], /^[0-9a-f]{64}$/);
});

test("the form works from the keyboard alone", async () => {
  await page.locator('#signer input[value="A6"]').focus();
  await page.keyboard.press("ArrowDown");
  assert.equal(await page.evaluate(() => document.activeElement.value), "A2");
  assert.ok(await page.locator("#a2-key").isVisible() && !(await page.locator("#a6-secret").isVisible()));
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "a2-key");
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Delete");
  assert.match(await page.locator("#signer-status").textContent(), /without credentials/);
  await page.keyboard.type("another-key");
  assert.match(await page.locator("#signer-status").textContent(), /with A2/);
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "a2-key", "Enter must not reload the page");
});

test("a reload forgets the fields, unless they are to be kept", async () => {
  await page.reload();
  assert.equal(await page.locator("#a2-key").inputValue(), "");
  await signAs("A2", { key: SECRETS.INBOUND_API_KEYS });
  await page.locator("#keep").check();
  await page.reload();
  assert.equal(await page.locator("#a2-key").inputValue(), SECRETS.INBOUND_API_KEYS);
  assert.ok(await page.locator("#a2-key").isVisible());
  await page.locator("#keep").uncheck();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("it fits a phone, by day and by night", async () => {
  const block = await tryOut("ingestPlayerActivity");
  await block.locator('tr[data-param-name="x-grps-evaluate"] select').selectOption("true");
  await execute(block);
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 1400 });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: `${SHOTS}/docs-${scheme}-${width}.png` });
      await page.locator('.opblock[id$="-ingestPlayerActivity"]').screenshot({ path: `${SHOTS}/ingest-${scheme}-${width}.png` });
      assert.equal(overflow, 0, `the page is ${overflow} px too wide at ${width} px`);
    }
  }
});

test("nothing left the server's own origin, and nothing complained", () => {
  const foreign = requested.filter((url) => !url.startsWith(`${server.origin}/`) && !url.startsWith("data:"));
  assert.deepEqual(foreign, []);
  assert.ok(requested.length > 10, "the recorder saw the page's requests");
  assert.deepEqual(complaints, []);
  const wrong = server.log().split("\n").filter((line) => /"level":"ERROR"|panicked at/.test(line));
  assert.deepEqual(wrong, []);
});
