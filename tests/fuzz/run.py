"""Runs schemathesis against a server of its own: `run.py target/debug/grps`. Prints how many cases there were, and fails when one of them
broke the document, when there were too few, or when the server complained in its log.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MIN_CASES = 2_000
START_DEADLINE_SECONDS = 30
RUN_DEADLINE_SECONDS = 600
BAD_LINE = re.compile(r'"level":"ERROR"|panicked at')


def main(binary):
    with tempfile.TemporaryDirectory(prefix="grps-fuzz-") as home:
        home = Path(home)
        names = ["INBOUND_API_KEYS", "AUTOMATION_SIGNATURE_SECRET", "API_KEY", "HMAC_SECRET"]
        given = {name: secrets.token_hex(32) for name in names}
        settings = {"DATA_DIR": home / "data", "POLICY_DIR": home / "policy", "PORT": "0", "LOG_FORMAT": "json", **given}
        log = home / "log"
        with open(log, "wb") as out:
            server = subprocess.Popen(
                [binary, "serve"], cwd=home, stderr=out, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], **{name: str(value) for name, value in settings.items()}},
            )
        try:
            failures = fuzz(wait_for(server, log), home, given)
        finally:
            server.terminate()
            code = server.wait(timeout=60)
        failures += [f"the server logged: {line}" for line in log.read_text(errors="replace").splitlines() if BAD_LINE.search(line)]
        if code != 0:
            failures.append(f"the server ended with {code}")
    for failure in failures[:20]:
        print(failure)
    return 1 if failures else 0


def wait_for(server, log):
    """The server's address, once it says it listens."""
    until = time.monotonic() + START_DEADLINE_SECONDS
    while time.monotonic() < until and server.poll() is None:
        found = re.search(r"grps \S+ on (http://[\d.:]+)\n", log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{log.read_text(errors='replace')}")


def fuzz(address, home, given):
    report = home / "events.ndjson"
    operator = json.loads((home / "data" / "secrets.json").read_text())["operatorSecret"]
    environment = {**os.environ, **given, "OPERATOR_SECRET": operator, "PYTHONPATH": str(HERE), "NO_PROXY": "127.0.0.1"}
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml", "run", f"{address}/openapi.json"]
    command += ["--no-color", "--report", "ndjson", "--report-ndjson-path", report]
    run = subprocess.run(command, cwd=home, env=environment, stdin=subprocess.DEVNULL, timeout=RUN_DEADLINE_SECONDS, check=False)
    cases, bad, statuses = count(report)
    print(f"answers by status: {dict(sorted(statuses.items()))}")
    print(f"schemathesis: {cases - bad} passed, {bad} failed")
    failures = [] if run.returncode == 0 else [f"schemathesis ended with {run.returncode}"]
    if cases < MIN_CASES:
        failures.append(f"only {cases} cases were sent; {MIN_CASES} are promised")
    return failures


def count(report):
    """Cases sent, those of them that broke the document, and how many answers there were of each status."""
    cases, bad, statuses = 0, 0, {}
    for line in report.read_text().splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for case, interaction in recorder.get("interactions", {}).items():
            status = (interaction.get("response") or {}).get("status_code", 0)
            statuses[status] = statuses.get(status, 0) + 1
            cases += 1
            bad += any(check["status"] != "success" for check in recorder.get("checks", {}).get(case, []))
    return cases, bad, statuses


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
