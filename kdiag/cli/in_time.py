"""The time that an answer to TAB may take, counted from the start of the process: a prompt must not hang.

Imports next to nothing, and is called before anything else is imported: what it limits is above all importing the rest.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # importing what only annotations need takes time, too
if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 0.3
"""Seconds from the start of the process, Python's own start included, until the prompt has its answer or none."""

_RESERVE_S = 0.04
"""Seconds of them that are left for ending the process; the kernel tells the start of a process in ticks of 0.01 s."""


def answer_in_time(
    answer: Callable[[], int], *, otherwise: str = "", late: int = 0, seconds: float | None = None
) -> int:
    """Runs `answer`, and passes on what it prints and its exit code if it ends in time, else prints `otherwise` and
    returns `late`.

    A child process does the work and is killed when `seconds` (None: what is left of DEADLINE_S) are over: nothing that it
    runs into, be it a busy machine, a silent server or a huge list, holds up the prompt. What it says on standard error goes
    nowhere, for at a prompt there is no place for errors. Where there is no fork, `answer` is run as it is.
    """
    if not hasattr(os, "fork"):
        return answer()
    import select
    import signal

    deadline = time.monotonic() + (_time_left_s() if seconds is None else seconds)
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _answer_and_exit(answer, sending)
    os.close(sending)
    waiting = select.poll()
    waiting.register(receiving)
    printed = b""
    while True:
        if not waiting.poll(max(deadline - time.monotonic(), 0) * 1000):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            sys.stdout.write(otherwise)
            sys.stdout.flush()
            return late
        part = os.read(receiving, 1 << 16)
        if not part:
            break
        printed += part
    _, status = os.waitpid(child, 0)
    sys.stdout.buffer.write(printed)
    sys.stdout.flush()
    return max(os.waitstatus_to_exitcode(status), 0)


def _answer_and_exit(answer: Callable[[], int], sending: int) -> None:
    """The child's part. Never returns, and leaves without any of the parent's exit handlers."""
    exit_code = 0
    try:
        os.dup2(sending, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        exit_code = answer()
        sys.stdout.flush()
    finally:
        os._exit(exit_code)


def _time_left_s() -> float:
    """Seconds until DEADLINE_S after the start of this process, not below 0."""
    try:
        with open("/proc/self/stat", "rb") as file:
            # The 20th field after the name, which may hold blanks and brackets: the start in ticks since boot.
            started = int(file.read().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        spent = time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, ValueError, IndexError, AttributeError):
        # No Linux: at least this much of the time has gone.
        spent = time.process_time()
    return max(DEADLINE_S - _RESERVE_S - spent, 0)
