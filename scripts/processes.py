"""Runs a program with a time limit and leaves no process of it behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Finished:
    code: int  # negative: the signal that ended it
    timed_out: bool
    seconds: float
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def ending(self) -> str:
        """How it ended, in words; empty for exit 0."""
        if self.timed_out:
            return f"killed after {self.seconds:.0f} s without an end"
        if self.code < 0:
            try:
                return f"ended by {signal.Signals(-self.code).name}"
            except ValueError:
                return f"ended by signal {-self.code}"
        return "" if self.code == 0 else f"exit code {self.code}"


def allow_interrupts():
    """Called by the main thread; one that runs programs from several threads does it first."""
    # SIGTERM must pass through the `finally` of run(): the child has a session of its own and would live on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A background job of a shell starts with SIGINT ignored, and so would every test of an interruption.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run(argv, log: Path, limit: float, env=None, cwd=None) -> Finished:
    """Output goes to a file, not a pipe: a grandchild that outlives the program cannot block the reader."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if threading.current_thread() is threading.main_thread():
        allow_interrupts()
    began = time.monotonic()
    timed_out = False
    with open(log, "wb") as out:
        child = subprocess.Popen(
            [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True,
        )  # fmt: skip
        try:
            child.wait(limit)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            end_group(child)
    return Finished(child.returncode, timed_out, time.monotonic() - began, log)


def end_group(child):
    """Ends whatever still runs in the child's own process group, and reaps the child."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None or number == signal.SIGKILL:
            try:
                os.killpg(child.pid, number)
            except ProcessLookupError:
                break
        if child.poll() is None:
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                continue
    child.wait()
