"""Runs the program `rlar`, which the wheel brings, as a local server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from rlar.errors import ServerError

START_SECONDS = 120.0
STOP_SECONDS = 30.0

SHOWN_LINES = 20
"""Number of lines of the server's log that an error shows."""


def binary() -> str:
    """The path of the program `rlar`: that in the environment variable `RLAR_BINARY`, that of this package, or that in `PATH`.

    Raises:
        ServerError: when there is none.
    """
    chosen = os.environ.get("RLAR_BINARY")
    if chosen:
        return chosen
    user = sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))
    beside = [Path(folder) / "rlar" for folder in (sysconfig.get_path("scripts"), user)]
    found = next((str(path) for path in beside if path.is_file()), None) or shutil.which("rlar")
    if not found:
        raise ServerError(f"the program `rlar` is not at {beside[0]} and not in PATH; install the wheel again, or set RLAR_BINARY")
    return found


class _Warnings(threading.Thread):
    """Copies what a server writes to standard error to this process's standard error, and keeps the last lines."""

    def __init__(self, stream: IO[str]):
        super().__init__(name="rlar-warnings", daemon=True)
        self._stream = stream
        self.last: deque[str] = deque(maxlen=SHOWN_LINES)
        self.start()

    def run(self) -> None:
        with self._stream:
            for line in self._stream:
                self.last.append(line)
                try:
                    sys.stderr.write(line)
                except (AttributeError, OSError, ValueError):
                    # There is no standard error, or it cannot be written. The server must not wait for it.
                    pass


class LocalServer:
    """A server of this machine: `with LocalServer(library="library") as server: Client(server.url)`.

    It ends with the `with` block, and also when this process is killed.
    """

    def __init__(self, *, library: str | os.PathLike[str] | None = None, config: str | os.PathLike[str] | None = None,
                 arguments: Sequence[str] = (), log: str | os.PathLike[str] | None = None,
                 start_timeout: float = START_SECONDS):
        """
        Args:
            library: a folder of tools. Without this and `config`, rlar's built-in library.
            config: a config of `rlar train`, whose `rewards` say which tools score.
            arguments: further arguments of `rlar serve`, such as `["--workers", "8"]`.
            log: a file for the server's log; when absent, only warnings go to standard error.
            start_timeout: seconds that the server may need to load its library.
        """
        self._command = [binary(), "serve", "--port", "0", "--until-eof"]
        self._command += ["--library", os.fspath(library)] if library is not None else []
        self._command += ["--config", os.fspath(config)] if config is not None else []
        self._command += ["--quiet"] if log is None else []
        self._command += list(arguments)
        self._log, self._start_timeout = log, start_timeout
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> LocalServer:
        """Starts the server and waits until it has loaded its library.

        Raises:
            ServerError: when it does not start within `start_timeout` seconds; the message ends with what the server said.
        """
        log = open(self._log, "a+", errors="replace") if self._log is not None else None
        before = log.tell() if log is not None else 0
        try:
            # The pipe to its standard input closes when this process ends, however it ends.
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, errors="replace",
                                       stderr=subprocess.PIPE if log is None else log)
        except OSError as error:
            raise ServerError(f"{self._command[0]}: {error}") from error
        finally:
            if log is not None:
                log.close()
        warnings = _Warnings(process.stderr) if process.stderr is not None else None
        first: list[str] = []

        def read() -> None:
            assert process.stdout is not None
            first.append(process.stdout.readline().strip())

        reading = threading.Thread(target=read, name="rlar-start", daemon=True)
        reading.start()
        reading.join(self._start_timeout)
        if first and first[0]:
            self._process, self.url = process, first[0]
            return self
        if first:
            what = f"ended with exit code {self._wait(process)}"
        else:
            what = f"did not start within {self._start_timeout:g} s; `start_timeout` gives it more time"
            process.kill()
            process.wait()
        said = self._said(warnings, before)
        # A process that it left behind may hold its output open.
        reading.join(1.0)
        if not reading.is_alive():
            self._close_pipes(process)
        raise ServerError(f"`{' '.join(self._command)}` {what}" + (f". Its last words:\n{said}" if said else ""))

    def stop(self) -> None:
        """Lets open requests end, and stops the server."""
        process, self._process = self._process, None
        if process is not None:
            self._close_pipes(process)
            self._wait(process)

    def _said(self, warnings: _Warnings | None, before: int) -> str:
        """The last lines that a server wrote to standard error; `before` is where they begin in the file of its log."""
        if warnings is not None:
            warnings.join(1.0)
            return "".join(warnings.last).strip()
        assert self._log is not None
        with open(self._log, errors="replace") as log:
            log.seek(before)
            return "".join(deque(log, SHOWN_LINES)).strip()

    @staticmethod
    def _wait(process: subprocess.Popen[str]) -> int:
        """Waits for the end of a server, which is forced after half a minute, and gives its exit code."""
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    @staticmethod
    def _close_pipes(process: subprocess.Popen[str]) -> None:
        """Ends the server's standard input, which tells it to stop."""
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> LocalServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
