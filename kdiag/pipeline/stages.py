"""How long the parts of a run take, for the log that `-v` shows."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGER = "kdiag.pipeline"


@contextmanager
def stage(text: str, *, detail: bool = False) -> Iterator[None]:
    """Logs what was done and how long it took, at the end: a stage at INFO, a part of one (`detail`) at DEBUG."""
    started = time.monotonic()
    try:
        yield
    finally:
        _log(f"{text}: {time.monotonic() - started:.3f} s", detail=detail)


def note(text: str) -> None:
    """Logs a detail."""
    _log(text, detail=True)


def _log(text: str, *, detail: bool) -> None:
    # Whoever wants to see it has imported `logging` to say so; other runs are spared that.
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger(_LOGGER).log(logging.DEBUG if detail else logging.INFO, "%s", text)
