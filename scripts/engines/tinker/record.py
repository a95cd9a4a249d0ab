#!/usr/bin/env python3
"""Relays requests to a server of the Tinker API and writes them with their answers, one exchange a line, for the replay in
crates/tinker/tests. Heartbeats are relayed and not written. Addresses become SERVER; bodies that are neither JSON nor text are written
in hexadecimal.

    scripts/engines/tinker/record.py UPSTREAM PORT FILE        such as http://127.0.0.1:8000 8001 train.jsonl
"""

import http.client
import http.server
import json
import sys
import urllib.parse

upstream, port, path = urllib.parse.urlparse(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
out = open(path, "w", encoding="utf-8")

KEPT = ("content-type", "content-encoding", "accept", "host")
PROTOBUF = "application/x-protobuf"


class Relay(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def relay(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        connection = http.client.HTTPConnection(upstream.hostname, upstream.port, timeout=600)
        kept = {name: value for name, value in self.headers.items() if name.lower() in KEPT}
        connection.request(self.command, self.path, body, kept)
        answer = connection.getresponse()
        content, kind, location = answer.read(), answer.headers.get("content-type", ""), answer.headers.get("location")
        self.send_response(answer.status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        if location:
            self.send_header("location", location)
        self.end_headers()
        self.wfile.write(content)
        if not self.path.endswith("/session_heartbeat"):
            self.write(body, answer.status, content, kind, location)

    do_GET = do_POST = relay

    def write(self, body, status, content, kind, location):
        written = {"status": status}
        if location:
            written["location"] = "http://SERVER" + urllib.parse.urlparse(location).path
        if kind.startswith("application/json"):
            written["json"] = json.loads(content)
        elif kind.startswith("text/"):
            written["text"] = content.decode()
        elif content:
            written |= {"type": kind} if kind == PROTOBUF else {}
            written["hex"] = content.hex()
        request = {"method": self.command, "path": self.path.removeprefix("/api/v1/")}
        if self.headers.get("content-type") == PROTOBUF:
            request |= {"type": PROTOBUF, "hex": body.hex()}
        else:
            request["body"] = json.loads(body) if body else None
        out.write(json.dumps({"request": request, "answer": written}, separators=(",", ":")) + "\n")
        out.flush()

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", port), Relay).serve_forever()
