"""``python -m app``, ``python -m model`` and torchrun in processes of their own, without the time of their imports.

The imports take seconds of a processor, and the tests start these programs more than a hundred times. A server
process (`forkserver` of :mod:`multiprocessing`) imports the modules once, and each program is a fork of it: a process
with its own arguments, environment, output and exit status, which tests stop and kill as any other.
:func:`interpreter` starts a program as a user does; some tests use it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

PROGRAMS = {
    "app": "app.__main__",
    "model": "model.__main__",
    "torch.distributed.run": "torch.distributed.run",
}
"""Modules with the function `main` of each program."""


class Forked:
    """A process of ``python -m PROGRAM ARGUMENTS``, with those methods of :class:`subprocess.Popen` that tests need.

    Parameters
    ----------
    program : str
        One of `PROGRAMS`.
    arguments : str
        Arguments of the command line.
    environment : mapping
        All environment variables of the process.
    """

    def __init__(self, program: str, *arguments: str, environment: Mapping[str, str]) -> None:
        # Not pipes: a pipe that is not read blocks the process after 64 KiB.
        self._files = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115 - `communicate` closes them
        # The process opens the files by these names, because they have no other.
        paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in self._files]
        options = (program, arguments, dict(environment), Path.cwd(), paths)
        self._process = server().Process(target=_run, args=options)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the number of the signal that ended the process; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit status. Raises TimeoutExpired after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(["fork", str(self.pid)], timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end, and return standard output and error. Raises TimeoutExpired after `timeout` seconds."""
        self.wait(timeout)
        texts = []
        for file in self._files:
            with file:
                file.seek(0)
                texts.append(file.read())
        return texts[0], texts[1]


def interpreter(program: str, *arguments: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start ``python -m PROGRAM ARGUMENTS`` as a user does."""
    return subprocess.Popen(
        [sys.executable, "-m", program, *arguments],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    program: str, *arguments: str, environment: Mapping[str, str], timeout: float = 280
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m PROGRAM ARGUMENTS`` to its end, and return its exit status and output.

    Raises TimeoutExpired after `timeout` seconds, and kills the process.
    """
    process = Forked(program, *arguments, environment=environment)
    try:
        output, errors = process.communicate(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess([program, *arguments], process.returncode or 0, output, errors)


@cache
def server() -> ForkServerContext:
    """Return the :mod:`multiprocessing` context whose processes are forks of the one with the modules."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded"])
    return context


def _run(
    program: str, arguments: tuple[str, ...], environment: dict[str, str], folder: Path, paths: list[str]
) -> None:
    """Run the program in the new process."""
    for number, path in enumerate(paths, 1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [program, *arguments]
    # The default of a program that was not forked; here it would be `forkserver`.
    multiprocessing.set_start_method("fork", force=True)
    importlib.import_module(PROGRAMS[program]).main()
