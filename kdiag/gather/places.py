"""Where a snapshot is: a directory or an archive, which may come from a stranger.

Links and special files are not followed, and only known places are looked at.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from kdiag.errors import SnapshotError
from kdiag.gather.contents import ARCHIVE_HINT, Collector, Contents, LimitError, Limits, refusal, words
from kdiag.gather.snapshot_layout import PathParts, depth_of


def read_contents(path: Path, limits: Limits) -> Contents:
    """The files of the snapshot at `path`, a directory or an archive.

    Raises SnapshotError if there is no such thing or nothing of it can be read.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise SnapshotError(f"cannot open snapshot {path}: {words(error)}", hint="check the path") from error
    collector = Collector(limits)
    if stat.S_ISDIR(mode):
        reading: Callable[[Path, Collector], None] = _read_directory
    elif stat.S_ISREG(mode):
        from kdiag.gather.archive import read_archive  # it imports what inflates

        reading = read_archive
    else:
        raise SnapshotError(f"{path} is neither a directory nor a regular file", hint=ARCHIVE_HINT)
    try:
        reading(path, collector)
    except LimitError as error:
        collector.problem((), error.reason)
    return collector.finish()


def _read_directory(root: Path, collector: Collector) -> None:
    try:
        present = sorted(os.listdir(root))
    except OSError as error:
        raise SnapshotError(
            f"cannot read snapshot directory {root}: {words(error)}", hint="check its rights"
        ) from error
    # Only known places are looked at: the directory may be somebody's home.
    for first in present:
        depth = depth_of(first)
        if depth is not None:
            _walk(root, (first,), depth, collector)


def _walk(root: Path, path: PathParts, depth: int, collector: Collector) -> None:
    collector.entry()
    full = root.joinpath(*path)
    if not path[-1].isprintable():
        collector.problem(path, "its name has characters that cannot be printed: not read")
        return
    try:
        mode = full.lstat().st_mode
        if stat.S_ISDIR(mode) and len(path) < depth:
            collector.contents.directories.add(path)
            for child in sorted(os.listdir(full)):
                if not child.startswith("."):
                    _walk(root, (*path, child), depth, collector)
            return
        reason = refusal(path, depth, is_file=stat.S_ISREG(mode), is_directory=stat.S_ISDIR(mode))
        if reason:
            collector.problem(path, reason)
            return
        collector.standing_file(path, full)
    except OSError as error:
        collector.problem(path, f"cannot be read: {words(error)}")
