// A grps server of its own for a test: fresh data, known secrets, a port the system picks.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_DEADLINE_MS = 30_000;

export const SECRETS = {
  INBOUND_API_KEYS: "inbound-key-of-the-browser-test-0001",
  AUTOMATION_SIGNATURE_SECRET: "automation-secret-of-the-browser-test",
  API_KEY: "gateway-key-of-the-browser-test-00001",
  HMAC_SECRET: "gateway-secret-of-the-browser-test-01",
};

/** Starts `binary` and resolves to `{ origin, operator, log(), stop() }` once it listens. */
export async function startServer(binary) {
  const dir = mkdtempSync(join(tmpdir(), "grps-browser-"));
  const data = join(dir, "data");
  const env = { PATH: process.env.PATH, DATA_DIR: data, POLICY_DIR: join(dir, "policy"), PORT: "0", LOG_FORMAT: "json", ...SECRETS };
  const child = spawn(binary, ["serve"], { cwd: dir, env, stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  let log = "";
  const origin = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`the server did not start in time:\n${log}`)), START_DEADLINE_MS);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}:\n${log}`)));
    child.stderr.setEncoding("utf8").on("data", (text) => {
      log += text;
      const found = /grps \S+ on (http:\/\/[\d.:]+)\n/.exec(log);
      if (!found) return;
      clearTimeout(late);
      resolve(found[1]);
    });
  }).catch((error) => {
    child.kill("SIGKILL");
    throw error;
  });
  return {
    origin,
    operator: JSON.parse(readFileSync(join(data, "secrets.json"), "utf8")).operatorSecret,
    log: () => log,
    async stop() {
      child.kill("SIGTERM");
      const code = await ended;
      rmSync(dir, { recursive: true });
      return code;
    },
  };
}
