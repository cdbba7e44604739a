"""How long the parts of a run take, for the log that `-v` shows."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger("kdiag.pipeline")


@contextmanager
def stage(text: str, *, detail: bool = False) -> Iterator[None]:
    """Logs what was done and how long it took, at the end: a stage at INFO, a part of one (`detail`) at DEBUG."""
    started = time.monotonic()
    try:
        yield
    finally:
        _LOGGER.log(logging.DEBUG if detail else logging.INFO, "%s: %.3f s", text, time.monotonic() - started)


def note(text: str) -> None:
    """Logs a detail."""
    _LOGGER.debug("%s", text)
