"""Runs the program `rlar`, which the wheel brings, as a local server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from rlar.errors import ServerError

STOP_SECONDS = 30.0


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


class LocalServer:
    """A server of this machine: `with LocalServer(library="library") as server: Client(server.url)`.

    It ends with the `with` block, and also when this process is killed.
    """

    def __init__(self, *, library: str | os.PathLike[str] | None = None, config: str | os.PathLike[str] | None = None,
                 arguments: Sequence[str] = (), log: str | os.PathLike[str] | None = None):
        """
        Args:
            library: a folder of tools. Without this and `config`, rlar's built-in library.
            config: a config of `rlar train`, whose `rewards` say which tools score.
            arguments: further arguments of `rlar serve`, such as `["--workers", "8"]`.
            log: a file for the server's log; when absent, only warnings go to standard error.
        """
        self._command = [binary(), "serve", "--port", "0", "--until-eof"]
        self._command += ["--library", os.fspath(library)] if library is not None else []
        self._command += ["--config", os.fspath(config)] if config is not None else []
        self._command += ["--quiet"] if log is None else []
        self._command += list(arguments)
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> LocalServer:
        """Starts the server and waits until it has loaded its library.

        Raises:
            ServerError: when it does not start.
        """
        log = open(self._log, "a") if self._log is not None else None
        try:
            # The pipe to its standard input closes when this process ends, however it ends.
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        except OSError as error:
            raise ServerError(f"{self._command[0]}: {error}") from error
        finally:
            if log is not None:
                log.close()
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            code = self._process.wait()
            self._close_pipes(self._process)
            self._process = None
            where = f"see {os.fspath(self._log)}" if self._log is not None else "its message is above"
            raise ServerError(f"`{' '.join(self._command)}` ended with exit code {code}; {where}")
        return self

    def stop(self) -> None:
        """Lets open requests end, and stops the server."""
        process, self._process = self._process, None
        if process is None:
            return
        self._close_pipes(process)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

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
