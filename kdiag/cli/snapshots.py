"""Which recorded cluster a command reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdiag.errors import UsageError

if TYPE_CHECKING:
    from kdiag.model.snapshot import Snapshot


def open_wanted(path: Path | None, *, demo: bool) -> Snapshot:
    """The snapshot that `--snapshot` or `--demo` names. Raises UsageError if neither or both were given."""
    if path is not None and demo:
        raise UsageError("--snapshot and --demo exclude each other")
    if path is None and not demo:
        raise UsageError(
            "there is nothing to look at: this version cannot read a live cluster",
            hint="name a recorded cluster with --snapshot PATH, or see one with --demo; live clusters come with the next release",
        )
    from kdiag import pipeline

    return pipeline.open_snapshot(path, demo=demo)
