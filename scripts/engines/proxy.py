"""A proxy on loopback in front of a server of vLLM or Tinker: it counts calls, bytes and seconds, and breaks what it is told to break."""

import asyncio
import collections
import dataclasses
import random
import threading
import time

# How often a request is hit, by kind of fault: the answer comes late; it ends early; the connection closes before the server sees
# the request, or after it has answered.
RATES = {"late": 0.10, "cut": 0.03, "unsent": 0.02, "unanswered": 0.02}
LATEST = 0.5  # seconds


@dataclasses.dataclass
class CallCount:
    calls: int = 0
    sent: int = 0
    received: int = 0
    seconds: float = 0.0


class Proxy:
    """Answers on `url` by the server on a port of this machine, until the program ends.

    With a `seed`, faults hit requests at random. With `keeps_cache`, no cache is cleared: `/reset_prefix_cache` is answered with
    success and not passed on, and `/pause` is told to keep the cache."""

    def __init__(self, port, seed=None, keeps_cache=False):
        self.port, self.keeps_cache = port, keeps_cache
        self.random = None if seed is None else random.Random(seed)
        self.counts = collections.defaultdict(CallCount)
        self.faults = collections.Counter()
        started = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.run(started)), daemon=True).start()
        if not started.wait(10):
            raise SystemExit("the proxy does not start")

    async def run(self, started):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        started.set()
        await server.serve_forever()

    async def serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head[:-4].split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in lines[1:])
            body = await reader.readexactly(int(headers.get(b"content-length", 0)))
            await self.relay(lines, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # of the client or of the server: the other one sees its connection close
        finally:
            writer.close()

    def fault(self):
        if self.random is None:
            return None
        drawn = self.random.random()
        for kind, rate in RATES.items():
            if drawn < rate:
                self.faults[kind] += 1
                return kind
            drawn -= rate
        return None

    async def relay(self, lines, body, writer):
        method, target, version = lines[0].split(b" ")
        path = target.split(b"?")[0].decode()
        fault = self.fault()
        if fault == "unsent":
            return
        if self.keeps_cache and path == "/pause":
            target += b"&clear_cache=false"
        # One request a connection: an answer ends where its connection does.
        kept = [line for line in lines[1:] if not line.lower().startswith(b"connection:")]
        head = b"\r\n".join([b" ".join([method, target, version]), *kept, b"connection: close"]) + b"\r\n\r\n"
        began = time.monotonic()
        if self.keeps_cache and path == "/reset_prefix_cache":
            text = b'{"success": true}'
            kind = b"content-type: application/json\r\nconnection: close"
            answer = b"HTTP/1.1 200 OK\r\n%s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(text), text)
        else:
            answer = await self.ask(head + body)
        count = self.counts[path]
        count.calls += 1
        count.sent += len(head) + len(body)
        count.received += len(answer)
        count.seconds += time.monotonic() - began
        if fault == "unanswered":
            return
        if fault == "late":
            await asyncio.sleep(LATEST * self.random.random())
        if fault == "cut":
            answer = answer[:self.random.randrange(1, max(2, len(answer)))]
        writer.write(answer)
        await writer.drain()

    async def ask(self, request):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()
