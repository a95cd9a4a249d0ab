"""The Python package against a real server, the program `rlar` that the wheel brings or that RLAR_BINARY names.

    python -m unittest discover crates/rlar/python/tests
"""

import asyncio
import http.server
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

import rlar
from rlar.client import split

SUM = dict(prompt="2 + 2 =", reference="4", response="It is 4.")
WRONG = dict(SUM, response="It is 5.")
OPEN = dict(prompt="Tell me of the sea.", response="It is wide.")

FAILING = '''
def lost(completions, **kwargs):
    """Gives no score to replies with a 5."""
    return [None if "5" in reply else 1.0 for reply in completions]
'''


class Busy(http.server.BaseHTTPRequestHandler):
    """Puts off every first request, then answers; `keys` are the idempotency keys that it saw."""

    keys: list[str] = []

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.keys.append(self.headers["idempotency-key"])
        body = json.dumps(dict(library="0", results=[])) if len(self.keys) > 1 else '{"error": {"code": "queue_full", "message": "full"}}'
        self.send_response(200 if len(self.keys) > 1 else 429)
        self.send_header("content-length", str(len(body)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class WithServer(unittest.TestCase):
    """Tests that share one server with the built-in library."""

    @classmethod
    def setUpClass(cls):
        cls.server = rlar.LocalServer().start()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_scored_replies_have_numbers_and_others_none(self):
        with rlar.Client(self.server.url) as client:
            answer = client.rewards([SUM, WRONG, OPEN])
        self.assertEqual(answer.rewards, [1.0, 0.0, None])
        self.assertEqual([result.status for result in answer.results], ["ok", "ok", "abstained"])
        self.assertEqual(answer.results[0].parts[0].tool, "numeric_match")
        self.assertIn("reference", answer.results[2].reason)

    def test_asyncio_gives_the_same(self):
        async def ask():
            async with rlar.AsyncClient(self.server.url) as client:
                return await client.rewards([SUM, WRONG, OPEN])

        self.assertEqual(asyncio.run(ask()).rewards, [1.0, 0.0, None])

    def test_many_items_come_back_in_their_order(self):
        items = [dict(prompt=f"{i} + 0 =", reference=str(i), response=str(i if i % 3 else i + 1)) for i in range(2500)]
        with rlar.Client(self.server.url) as client:
            rewards = client.rewards(items).rewards
        self.assertEqual(rewards, [1.0 if i % 3 else 0.0 for i in range(2500)])

    def test_a_pinned_library_is_kept_or_refused(self):
        with rlar.Client(self.server.url) as client:
            library = client.rewards([SUM]).library
        with rlar.Client(self.server.url, library=library) as client:
            self.assertEqual(client.rewards([SUM]).rewards, [1.0])
        with rlar.Client(self.server.url, library="0" * 16) as client, self.assertRaises(rlar.ServerError) as caught:
            client.rewards([SUM])
        self.assertEqual((caught.exception.status, caught.exception.code), (409, "other_library"))

    def test_tools_are_listed(self):
        with rlar.Client(self.server.url) as client:
            self.assertIn("numeric_match", [tool["name"] for tool in client.tools()])

    def test_it_is_a_reward_function_of_trl(self):
        extra, metrics = {}, {}
        reward = rlar.Rewards(url=self.server.url)
        self.assertTrue(inspect.iscoroutinefunction(reward.__call__))
        batch = dict(
            prompts=[[dict(role="user", content="2 + 2 =")]] * 2 + [[dict(role="user", content="Tell me of the sea.")]],
            completions=[[dict(role="assistant", content=text)] for text in ("4", "5", "It is wide.")],
            completion_ids=[[1], [2], [3]], reference=["4", "4", None], trainer_state=object(),
            log_extra=extra.__setitem__, log_metric=metrics.__setitem__,
        )
        with self.assertLogs("rlar", "WARNING") as logged:
            self.assertEqual(asyncio.run(reward(**batch)), [1.0, 0.0, None])
        self.assertIn("1 of 3 replies", logged.output[0])
        self.assertEqual(extra["rlar_status"], ["ok", "ok", "abstained"])
        self.assertEqual(extra["rlar_tools"][0], "numeric_match=1")
        self.assertEqual((metrics["rlar/ok"], metrics["rlar/abstained"], metrics["rlar/numeric_match"]), (2.0, 1.0, 0.5))

    def test_a_column_that_json_cannot_express_is_named(self):
        reward = rlar.Rewards(url=self.server.url)
        with self.assertRaisesRegex(TypeError, "columns"):
            asyncio.run(reward(["2 + 2 ="], ["4"], reference=["4"], picture=[object()]))
        reward = rlar.Rewards(url=self.server.url, columns=["reference"])
        self.assertEqual(asyncio.run(reward(["2 + 2 ="], ["4"], reference=["4"], picture=[object()])), [1.0])
        reward = rlar.Rewards(url=self.server.url, columns=["answer"])
        with self.assertRaisesRegex(ValueError, "answer"):
            asyncio.run(reward(["2 + 2 ="], ["4"], reference=["4"]))


class Alone(unittest.TestCase):
    """Tests with servers of their own."""

    def test_a_failing_tool_is_told_and_gives_no_number(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "reward.py").write_text(FAILING)
            config = Path(folder, "rewards.yaml")
            config.write_text("version: 1\nrewards:\n  python: reward.py:lost\n  unadmitted: allow\n")
            with rlar.LocalServer(config=config) as server, rlar.Client(server.url) as client:
                results = client.rewards([SUM, WRONG]).results
        self.assertEqual([result.status for result in results], ["ok", "failed"], results)
        self.assertIsNone(results[1].reward)
        self.assertEqual([part.outcome for part in results[1].parts if part.tool == "lost"], ["failed"])

    def test_a_busy_server_is_asked_again_with_the_same_key(self):
        Busy.keys.clear()
        server = http.server.HTTPServer(("127.0.0.1", 0), Busy)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with rlar.Client(f"http://127.0.0.1:{server.server_port}") as client:
            self.assertEqual(client.rewards([]).rewards, [])
        server.shutdown()
        thread.join()
        server.server_close()
        self.assertEqual(len(Busy.keys), 2)
        self.assertEqual(Busy.keys[0], Busy.keys[1])

    def test_a_server_that_does_not_answer_is_an_error_and_no_number(self):
        with rlar.Client("http://127.0.0.1:1", patience=0.5) as client, self.assertRaisesRegex(rlar.ServerError, "rlar serve"):
            client.rewards([SUM])

    def test_a_server_that_cannot_start_says_why(self):
        with self.assertRaisesRegex(rlar.ServerError, "exit code 2(?s:.*)nowhere-at-all(?s:.*)does not exist"):
            rlar.LocalServer(library="nowhere-at-all").start()
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log")
            log.write_text("an earlier server\n")
            with self.assertRaisesRegex(rlar.ServerError, "exit code 2(?s:.*)does not exist") as caught:
                rlar.LocalServer(library="nowhere-at-all", log=log).start()
            self.assertNotIn("earlier", str(caught.exception))
            self.assertIn("does not exist", log.read_text())
        with self.assertRaisesRegex(ValueError, "local server"):
            rlar.Rewards(library="library", url="http://127.0.0.1:1")

    def test_a_server_that_does_not_start_in_time_is_given_up(self):
        with tempfile.TemporaryDirectory() as folder:
            slow = Path(folder, "slow")
            slow.write_text("#!/bin/sh\necho loading a large model >&2\nexec sleep 600\n")
            slow.chmod(0o755)
            with mock.patch.dict(os.environ, RLAR_BINARY=str(slow)):
                server = rlar.LocalServer(start_timeout=0.5)
            began = time.monotonic()
            with self.assertRaisesRegex(rlar.ServerError, "within 0.5 s(?s:.*)loading a large model"):
                server.start()
            self.assertLess(time.monotonic() - began, 30)

    def test_the_server_ends_with_the_process_that_started_it(self):
        code = "import rlar, time; print(rlar.LocalServer().start().url, flush=True); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        url = child.stdout.readline().strip()
        with rlar.Client(url) as client:
            self.assertEqual(client.rewards([SUM]).rewards, [1.0])
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        # The kernel closes the pipe at once; the server then drains and ends.
        deadline = time.monotonic() + 60
        with rlar.Client(url, patience=0.0) as client:
            while True:
                self.assertLess(time.monotonic(), deadline, "the server still answers")
                try:
                    client.rewards([SUM])
                except rlar.ServerError:
                    break

    def test_neighbours_with_one_prompt_stay_in_one_request(self):
        items = [dict(prompt=prompt, response=str(i)) for prompt in "abc" for i in range(4)]
        self.assertEqual([len(part) for part in split(items, most=6)], [4, 4, 4])
        self.assertEqual([len(part) for part in split(items, most=8)], [8, 4])
        self.assertEqual([len(part) for part in split(items, most=3)], [3, 1, 3, 1, 3, 1])
        self.assertEqual(list(split([])), [[]])


if __name__ == "__main__":
    unittest.main()
