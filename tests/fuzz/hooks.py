"""Credentials for fuzzed requests, and a bound on what one of them may cost."""

import hashlib
import hmac
import itertools
import os
import re
import time
import uuid

import requests
import schemathesis

# One request in so many goes without credentials, so that refusals are held against the document too.
UNSIGNED_EVERY = 20

# Players one request may invent. The endpoint takes 10,000, which is seconds of work each time; larger numbers still arrive, and are refused.
AFFORDABLE_PLAYERS = 50

_count = itertools.count()


def _mac(secret, message):
    return hmac.new(os.environ[secret].encode(), message, hashlib.sha256).hexdigest()


def signed_request(request, now):
    """A6, as the operator."""
    nonce = uuid.uuid4().hex
    body = hashlib.sha256(_bytes(request)).hexdigest()
    message = f"{now}.{nonce}.{request.method}.{request.path_url}.{body}"
    signature = f"v2,operator,{_mac('OPERATOR_SECRET', message.encode())}"
    return {"x-grps-timestamp": now, "x-grps-nonce": nonce, "x-grps-signature-v2": signature}


def api_key(_request, _now):
    """A2."""
    return {"x-grps-api-key": os.environ["INBOUND_API_KEYS"]}


def signature(request, _now):
    """A1."""
    return {"x-grps-signature": _mac("AUTOMATION_SIGNATURE_SECRET", _bytes(request))}


def gateway(_request, now):
    """A3."""
    return {"x-api-key": os.environ["API_KEY"], "x-timestamp": now, "x-signature": _mac("HMAC_SECRET", now.encode())}


SCHEMES = {
    "/admin/": signed_request,
    "/metrics": signed_request,
    "/leaderboards/submit": gateway,
    "/automation/": signed_request,
    "/sync/roblox": signature,
    "/sync/": signed_request,
    "/job": gateway,
    "/ws": gateway,
}

# Where one operation of a path takes another credential than the rest below it.
EXACT = {("POST", "/automation/decisions"): signature}


def _bytes(request):
    body = request.body or b""
    return body.encode() if isinstance(body, str) else body


class Credentials(requests.auth.AuthBase):
    """Signs the request as it will be sent, byte for byte."""

    def __call__(self, request):
        if next(_count) % UNSIGNED_EVERY:
            by_start = next((scheme for start, scheme in SCHEMES.items() if request.path_url.startswith(start)), api_key)
            scheme = EXACT.get((request.method, request.path_url), by_start)
            request.headers.update(scheme(request, str(int(time.time()))))
        return request


schemathesis.auth.set_from_requests(Credentials())


@schemathesis.hook("map_body").apply_to(path="/admin/api/demo")
def affordable(ctx, body):
    players = body.get("players") if isinstance(body, dict) else None
    if isinstance(players, int) and AFFORDABLE_PLAYERS < players <= 10_000:
        return {**body, "players": AFFORDABLE_PLAYERS}
    return body


def _few(queue):
    """One of a few names for a queue that may be: the server refuses to hold more than 256 queues, as it says."""
    return f"queue-{len(queue) % 8}" if isinstance(queue, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", queue) else queue


@schemathesis.hook("map_query")
def patient(ctx, query):
    """A poll that waits is told by others that there is a job, and here there are no others."""
    if not query:
        return query
    changed = {name: _few(value) if name == "queue" else value for name, value in query.items()}
    if str(changed.get("wait", "")).isdigit() and int(changed["wait"]) <= 25:
        changed["wait"] = 0
    return changed


@schemathesis.hook("map_body").apply_to(path="/job/batch")
def few_queues(ctx, body):
    jobs = body.get("jobs") if isinstance(body, dict) else None
    for job in jobs if isinstance(jobs, list) else []:
        if isinstance(job, dict) and "queue" in job:
            job["queue"] = _few(job["queue"])
    return body


@schemathesis.hook("map_body").apply_to(path="/automation/adjustments")
def few_queues_of_adjustments(ctx, body):
    return {**body, "queue": _few(body["queue"])} if isinstance(body, dict) and "queue" in body else body
