"""What `-v` and `-vv` show on standard error: what kdiag does and how long it takes.

Only kdiag's own lines: the libraries below it log whole answers and headers. What is logged are names, sizes and times, never what
was read.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

_LOGGER = "kdiag"


def turn_on(verbosity: int) -> None:
    """Shows stages with their times (1), and what each consists of (2 and more), until `turn_off`."""
    import logging

    turn_off()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter())
    logger = logging.getLogger(_LOGGER)
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbosity > 1 else logging.INFO)


def turn_off() -> None:
    """Undoes `turn_on`: several runs may share a process."""
    if is_on():
        import logging

        logger = logging.getLogger(_LOGGER)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def is_on() -> bool:
    """Whether anything is logged. Imports nothing to find that out."""
    logging = sys.modules.get("logging")
    return logging is not None and bool(logging.getLogger(_LOGGER).handlers)


def _formatter() -> logging.Formatter:
    import logging

    started = time.monotonic()

    class Line(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            from kdiag.render.layout import visible

            return f"kdiag {time.monotonic() - started:8.3f}s  {visible(record.getMessage())}"

    return Line()


class LogWatch:
    """Gathering, told line by line. Called from several threads."""

    def __init__(self) -> None:
        import logging
        import threading

        self._logger = logging.getLogger("kdiag.gather")
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}
        self._bytes: dict[str, int] = {}

    def phase(self, text: str) -> None:
        """See Watch."""
        self._logger.info("%s", text)

    def nodes_expected(self, total: int) -> None:
        """See Watch."""
        self._logger.info("asking %d nodes", total)

    def started(self, node: str) -> None:
        """See Progress."""
        with self._lock:
            self._started[node] = time.monotonic()
            self._bytes[node] = 0
        self._logger.debug("node %s: asked", node)

    def received(self, node: str, size_bytes: int) -> None:
        """See Progress."""
        with self._lock:
            self._bytes[node] = self._bytes.get(node, 0) + size_bytes

    def finished(self, node: str, *, failed: bool) -> None:
        """See Progress."""
        with self._lock:
            spent = time.monotonic() - self._started.pop(node, time.monotonic())
            size_bytes = self._bytes.get(node, 0)
        outcome = "failed" if failed else "read"
        self._logger.info("node %s: %s, %d bytes in %.3f s", node, outcome, size_bytes, spent)

    def close(self) -> None:
        """See Watch."""
        self._logger.info("gathering done")
