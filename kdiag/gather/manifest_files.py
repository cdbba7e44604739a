"""Manifests as kubectl takes them with -f: files, directories, standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from kdiag.errors import UsageError
from kdiag.gather.text_files import LIMIT_BYTES, read_text_file

STANDARD_INPUT = "-"
ENDINGS = (".yaml", ".yml", ".json")
"""What is read of a directory. A file that is named itself may have any."""

FILES_LIMIT = 10_000
TOTAL_LIMIT_BYTES = 64 << 20
"""All files together. A cluster's whole manifests are a tenth of it."""


def read_manifest_files(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Name and text of every file, in the order given and by name within a directory; no file twice.

    Directories are read with all below them, but for links to directories and what begins with a dot. `-` is standard
    input. Raises UsageError if something cannot be read, a directory holds no manifest, or there is too much.
    """
    seen: set[str] = set()
    total = 0
    for path in paths:
        for file in _files(path):
            place = STANDARD_INPUT if file is None else os.path.realpath(file)
            if place in seen:
                continue
            seen.add(place)
            text = _standard_input() if file is None else read_text_file(file, "manifest")
            total += len(text)
            if total > TOTAL_LIMIT_BYTES or len(seen) > FILES_LIMIT:
                raise UsageError(
                    f"too many manifests: more than {FILES_LIMIT} files or {TOTAL_LIMIT_BYTES >> 20} MiB",
                    hint="name the files that hold Services and workloads",
                )
            yield "standard input" if file is None else str(file), text


def _files(path: Path) -> Iterator[Path | None]:
    """None stands for standard input."""
    if str(path) == STANDARD_INPUT:
        yield None
    elif not path.is_dir():
        yield path
    else:
        found = sorted(_below(path))
        if not found:
            raise UsageError(f"{path} holds no manifest", hint=f"files that end in {', '.join(ENDINGS)} are read")
        yield from found


def _below(directory: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}") from error

    for parent, directories, files in os.walk(directory, onerror=fail):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in files:
            if name.endswith(ENDINGS) and not name.startswith("."):
                yield Path(parent) / name


def _standard_input() -> str:
    content = sys.stdin.buffer.read(LIMIT_BYTES + 1)
    if len(content) > LIMIT_BYTES:
        raise UsageError(f"the manifest on standard input is too large: more than {LIMIT_BYTES >> 20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"the manifest on standard input is not UTF-8: byte {error.start + 1}") from None
