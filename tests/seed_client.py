#!/usr/bin/env python3
"""A client of the job gateway as its seed describes it, in another language and with nothing but the standard library.

It signs with the three headers, polls /job/next with a backoff, and reads the WebSocket by hand. It shares no code with the server, so it
shows whether the seed's contract holds. It prints one JSON object with what it saw; a check that fails ends it with exit code 1.
Settings: BASE_URL, API_KEY, HMAC_SECRET, JOBS (how many jobs to send through).
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import random
import socket
import struct
import sys
import time
from urllib.parse import quote, urlsplit

BASE = urlsplit(os.environ["BASE_URL"])
KEY = os.environ["API_KEY"]
SECRET = os.environ["HMAC_SECRET"]
JOBS = int(os.environ.get("JOBS", "20"))
PATIENCE = 20.0
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def check(holds, what):
    if not holds:
        print(f"seed client: {what}", file=sys.stderr)
        sys.exit(1)


def signed(at=None, encode=bytes.hex):
    timestamp = str(int(time.time()) if at is None else at)
    tag = hmac.new(SECRET.encode(), timestamp.encode(), hashlib.sha256).digest()
    return {"X-API-KEY": KEY, "X-TIMESTAMP": timestamp, "X-SIGNATURE": encode(tag)}


def call(method, path, headers, body=None):
    connection = http.client.HTTPConnection(BASE.hostname, BASE.port, timeout=PATIENCE)
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text


class WebSocket:
    """RFC 6455, as much of it as a client that reads text frames needs."""

    def __init__(self, path, headers):
        self.socket = socket.create_connection((BASE.hostname, BASE.port), timeout=PATIENCE)
        nonce = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {BASE.netloc}", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {nonce}", "Sec-WebSocket-Version: 13"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.exactly(1)
        status, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(status.split(" ")[1])
        if self.status == 101:
            given = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            expected = base64.b64encode(hashlib.sha1((nonce + GUID).encode()).digest()).decode()
            check(given.get("sec-websocket-accept") == expected, "Sec-WebSocket-Accept does not answer our key")

    def exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            check(part, "the connection ended within a frame")
            data += part
        return data

    def send(self, opcode, payload=b""):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self.socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    def frame(self):
        first, second = self.exactly(2)
        check(second & 0x80 == 0, "the server masks its frames")
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self.exactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self.exactly(8))
        return first & 0x80, first & 0x0F, self.exactly(length)

    def text(self):
        """The next whole text message; pings are answered on the way."""
        message = b""
        while True:
            final, opcode, payload = self.frame()
            if opcode == 0x9:
                self.send(0xA, payload)
            elif opcode in (0x0, 0x1):
                message += payload
                if final:
                    return message.decode()
            else:
                check(opcode == 0xA, f"a frame of kind {opcode} instead of a text")

    def close(self):
        self.send(0x8, struct.pack(">H", 1000))
        while self.frame()[1] != 0x8:
            pass
        self.socket.close()


def refusals():
    now = int(time.time())
    without = signed()
    del without["X-SIGNATURE"]
    seen = {}
    for name, headers in [("no headers", {}), ("no signature", without), ("an old time", signed(now - 3600)),
                          ("a wrong key", {**signed(), "X-API-KEY": "wrong"}),
                          ("a wrong signature", {**signed(), "X-SIGNATURE": "00" * 32})]:
        status, text = call("GET", "/job/next", headers)
        check(status == 401, f"{name}: {status}")
        seen[name] = json.loads(text)["code"]
    check(len(set(seen.values())) >= 4, f"refusals cannot be told apart: {seen}")
    return seen


def receive(expected):
    """Polls as the seed's worker does: at once after a job, with a growing pause after a 204."""
    encodings = [bytes.hex, lambda tag: tag.hex().upper(), lambda tag: base64.b64encode(tag).decode()]
    jobs, pause, empty, deadline = [], 0.01, 0, time.monotonic() + PATIENCE
    while len(jobs) < expected:
        check(time.monotonic() < deadline, f"only {len(jobs)} of {expected} jobs came")
        status, text = call("GET", "/job/next", signed(encode=random.choice(encodings)))
        if status == 204:
            check(text == b"", "a 204 has a body")
            empty += 1
            time.sleep(pause * random.random())
            pause = min(pause * 2, 0.5)
            continue
        check(status == 200, f"GET /job/next: {status} {text[:200]}")
        jobs.append(text.decode())
        pause = 0.01
    return jobs, empty


def main():
    status, text = call("GET", "/health", {"X-API-KEY": KEY, **signed()})
    check(status == 200 and json.loads(text)["ok"] is True, f"GET /health: {status} {text}")
    refused = refusals()
    for path, headers in [("/ws", {}), ("/ws", {"X-API-KEY": "wrong"}), ("/ws?api_key=wrong", {})]:
        check(WebSocket(path, headers).status == 401, f"{path} opens without the key")
    sockets = [WebSocket("/ws", {"X-API-KEY": KEY}), WebSocket(f"/ws?api_key={quote(KEY)}", {})]
    check([one.status for one in sockets] == [101, 101], "a socket does not open with the key")

    status, _ = call("GET", "/job/next", signed())
    check(status == 204, f"an empty queue answers {status}")
    # One with a long text, so that its frame has an extended length.
    sent = [json.dumps({"number": number, "text": "ü" * (500 * number % 9000)}) for number in range(JOBS)]
    ids = []
    for job in sent:
        status, text = call("POST", "/job", {**signed(), "Content-Type": "application/json"}, job)
        answer = json.loads(text)
        check(status == 200 and answer["queued"] is True and answer["id"], f"POST /job: {status} {text}")
        ids.append(answer["id"])
    check(len(set(ids)) == JOBS, "ids repeat")

    jobs, empty = receive(JOBS)
    check(jobs == sent, "jobs came out changed or out of order")
    status, _ = call("GET", "/job/next", signed())
    check(status == 204, f"the queue is not empty: {status}")
    for one in sockets:
        check([one.text() for _ in sent] == sent, "a socket saw something else than what was sent")
        one.close()
    print(json.dumps({"jobs": len(jobs), "ids": ids, "empty": empty, "refused": refused}))


main()
