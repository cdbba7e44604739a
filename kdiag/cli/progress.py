"""How far gathering is: one line on standard error, and only on a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

from kdiag.cli import log

if TYPE_CHECKING:
    from kdiag.gather.collect import Watch

_BAR_COLUMNS = 20
_REDRAW_S = 0.1


def watch_for() -> Watch | None:
    """A log with `-v`, a progress line if standard error is a terminal that can redraw a line, else nothing."""
    if log.is_on():
        return log.LogWatch()
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return ProgressLine(sys.stderr)
    return None


class ProgressLine:
    """Nodes done, running and failed, and the bytes that came. Called from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._phase = ""
        self._total = 0
        self._running: set[str] = set()
        self._done = 0
        self._failed = 0
        self._bytes = 0
        self._drawn_at = 0.0

    def phase(self, text: str) -> None:
        """See Watch."""
        with self._lock:
            self._phase = text
            self._total = 0
            self._draw(now=True)

    def nodes_expected(self, total: int) -> None:
        """See Watch."""
        with self._lock:
            self._total, self._done, self._failed, self._bytes = total, 0, 0, 0
            self._running.clear()
            self._draw(now=True)

    def started(self, node: str) -> None:
        """See Progress."""
        with self._lock:
            self._running.add(node)
            self._draw()

    def received(self, node: str, size_bytes: int) -> None:
        """See Progress."""
        with self._lock:
            self._bytes += size_bytes
            self._draw()

    def finished(self, node: str, *, failed: bool) -> None:
        """See Progress."""
        with self._lock:
            self._running.discard(node)
            self._done += 1
            self._failed += failed
            self._draw(now=self._done == self._total)

    def close(self) -> None:
        """Leaves nothing of the line."""
        with self._lock:
            self._write("")

    def _draw(self, *, now: bool = False) -> None:
        moment = time.monotonic()
        if not now and moment - self._drawn_at < _REDRAW_S:
            return
        self._drawn_at = moment
        self._write(self._line())

    def _line(self) -> str:
        if not self._total:
            return f"{self._phase} ..." if self._phase else ""
        filled = _BAR_COLUMNS * self._done // self._total
        bar = "#" * filled + "-" * (_BAR_COLUMNS - filled)
        return (
            f"[{bar}] {self._done} of {self._total} nodes, {len(self._running)} running, {self._failed} failed, "
            f"{self._bytes / (1 << 20):.1f} MiB"
        )

    def _write(self, text: str) -> None:
        columns = shutil.get_terminal_size().columns
        try:
            self._stream.write(f"\r\x1b[K{text[: columns - 1]}")
            self._stream.flush()
        except OSError:
            # Who cannot be told how far it is can still be told the result.
            return
