"""A snapshot written: as a directory or an archive that `read_snapshot` reads, without secrets and within its limits."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from kdiag.errors import SnapshotError
from kdiag.gather.contents import Limits, size_words
from kdiag.gather.redact import redact, redact_nodes, redact_recordings
from kdiag.gather.snapshot_layout import (
    CLUSTER,
    CLUSTER_AFTER,
    FORMAT,
    LEAST_SHARED_BYTES,
    MANIFEST,
    NODES,
    SAME_AS,
    PathParts,
    cluster_again,
    depth_of,
    gap_order,
    nodes_again,
)
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording, Round, Snapshot

__all__ = ["Limits", "check_destination", "write_snapshot"]

_UNWRITTEN_ENDINGS = (".tar", ".tar.zst", ".tar.xz", ".tar.bz2", ".zip")
"""Endings that promise a form of archive which is not written."""

_SECRET_KINDS = ("secret", "secrets", "kubeconfig")
_SECRET_LIST = re.compile(rb'"kind"\s*:\s*"Secret(?:List)?"')
_OWN_KEYS = ("format", "cluster", "taken_at", "again", "files", "gaps")
"""Keys of the manifest that are written from the snapshot's own fields."""

_REMEDY = "judge the live cluster, of which nothing is left out"
_TOP_LEVEL = 8
"""Files and directories that are there beside recordings."""


def check_destination(path: Path) -> None:
    """Raises SnapshotError if a snapshot cannot be written to `path`: known before hours of work rather than after."""
    if path.name.endswith(_UNWRITTEN_ENDINGS):
        raise SnapshotError(f"cannot write snapshot {path} in this form", hint="name a .tar.gz file or a directory")
    try:
        if _is_archive(path):
            if path.is_dir():
                raise SnapshotError(
                    f"{path} is a directory", hint="name a file that ends in .tar.gz, or a new directory"
                )
            place = path.parent
            if not place.is_dir():
                raise SnapshotError(f"there is no directory {place}", hint="make it, or name another place")
        else:
            if path.is_dir() and any(path.iterdir()):
                raise SnapshotError(f"{path} is not empty", hint="name a new directory")
            if path.exists() and not path.is_dir():
                raise SnapshotError(f"{path} is a file", hint="name a file that ends in .tar.gz, or a new directory")
            place = next(item for item in (path, *path.absolute().parents) if item.is_dir())
    except OSError as error:
        raise SnapshotError(f"cannot write snapshot {path}: {error.strerror or error}") from error
    if not os.access(place, os.W_OK | os.X_OK):
        raise SnapshotError(f"cannot write snapshot {path}: no permission to write in {place}")


def write_snapshot(snapshot: Snapshot, path: Path, *, limits: Limits = Limits()) -> Snapshot:  # noqa: B008 - frozen
    """Writes a snapshot as a directory, or as one archive if `path` ends in `.tar.gz` or `.tgz`; returns it as stored.

    The inverse of `read_snapshot`; the same snapshot gives the same bytes. Kubeconfigs, tokens and private keys are
    blotted out and Secrets left out. What is larger than `limits` would let a reader read is left out, too, and is a gap
    of what is stored and returned. An existing archive is replaced; a directory must be new or empty.
    Raises SnapshotError if `path` cannot be written or a name does not fit into a path.
    """
    if path.name.endswith(_UNWRITTEN_ENDINGS):
        raise SnapshotError(f"cannot write snapshot {path} in this form", hint="name a .tar.gz file or a directory")
    stored = _Shrinking(limits).snapshot(_without_secrets(snapshot))
    files = _files(stored)
    filled = {file_path[:-1] for file_path in files}
    empty: list[PathParts] = [
        (directory, node)
        for directory, nodes in _node_directories(stored)
        for node in sorted(nodes)
        if (directory, node) not in filled
    ]
    for file_path in [*files, *empty]:
        _check_path(file_path)
    try:
        if _is_archive(path):
            _write_archive(path, files, empty)
        else:
            _write_directory(path, files, empty)
    except OSError as error:
        raise SnapshotError(f"cannot write snapshot {path}: {error.strerror or error}") from error
    return stored


# What is stored


def _without_secrets(snapshot: Snapshot) -> Snapshot:
    return replace(
        snapshot,
        api=_api_without_secrets(snapshot.api),
        api_after=_api_without_secrets(snapshot.api_after),
        nodes=redact_nodes(snapshot.nodes),
        again=tuple(
            replace(item, nodes=redact_nodes(item.nodes), api_after=_api_without_secrets(item.api_after))
            for item in snapshot.again
        ),
    )


def _api_without_secrets(recordings: Mapping[str, Recording]) -> dict[str, Recording]:
    return redact_recordings({kind: item for kind, item in recordings.items() if not _is_secret(kind, item)})


def _is_secret(kind: str, recording: Recording) -> bool:
    """True for what a snapshot never holds, whatever it is named."""
    return kind.lower() in _SECRET_KINDS or _SECRET_LIST.search(recording.content, 0, 4096) is not None


class _Shrinking:
    """Leaves out what a reader with these limits would not read, and says so."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # The manifest, which is not there yet, holds error texts and gaps: far less than the rest.
        self._bytes_left = limits.max_total_bytes - limits.max_total_bytes // 16
        self._files_left = limits.max_files - _TOP_LEVEL
        self._gaps: list[Gap] = []
        self._counted: set[tuple[str, bytes]] = set()

    def snapshot(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot without what is too large. The API comes first: without it nothing can be judged."""
        api, api_after = self._api(snapshot.api), self._api(snapshot.api_after)
        nodes = self._nodes(snapshot.nodes)
        again = tuple(self._round(item) for item in snapshot.again)
        if not self._gaps:
            return snapshot
        gaps = tuple(sorted({*snapshot.gaps, *self._gaps}, key=gap_order))
        return replace(snapshot, api=api, api_after=api_after, nodes=nodes, again=again, gaps=gaps)

    def _round(self, item: Round) -> Round:
        return replace(item, api_after=self._api(item.api_after), nodes=self._nodes(item.nodes))

    def _api(self, recordings: Mapping[str, Recording]) -> dict[str, Recording]:
        out: dict[str, Recording] = {}
        for kind, recording in sorted(recordings.items()):
            reason = self._too_large(recording) or self._too_much([recording])
            if reason:
                self._gaps.append(Gap(subject=recording.source, reason=f"{reason}; {_REMEDY}"))
                # A list that is not there at all would be taken for one that was never asked for.
                recording = Recording(source=recording.source, content=b"", stderr=reason)
            out[kind] = recording
        return out

    def _nodes(self, nodes: Mapping[str, Mapping[str, Recording]]) -> dict[str, Mapping[str, Recording]]:
        out: dict[str, Mapping[str, Recording]] = {}
        for node, probes in sorted(nodes.items()):
            kept: dict[str, Recording] = {}
            for probe, recording in probes.items():
                reason = self._too_large(recording)
                if reason:
                    self._gaps.append(Gap(node=node, subject=recording.source, reason=f"{reason}; {_REMEDY}"))
                else:
                    kept[probe] = recording
            reason = self._too_much(list(kept.values()))
            if reason:
                self._gaps.append(Gap(node=node, subject="node", reason=f"{reason}; {_REMEDY}, or only some --node"))
            else:
                out[node] = kept
        return out

    def _too_large(self, recording: Recording) -> str:
        size_bytes, limit = recording.size_bytes, self._limits.max_file_bytes
        if size_bytes <= limit:
            return ""
        return f"left out: it has {size_words(size_bytes)}, and a file of a snapshot may have {size_words(limit)}"

    def _too_much(self, recordings: list[Recording]) -> str:
        """Takes recordings off what is left, or says why they do not fit."""
        # What several nodes have alike is stored once.
        large = {(item.source.rpartition("/")[2], item.content): item for item in recordings if _is_shared(item)}
        size_bytes = sum(item.size_bytes for item in recordings if not _is_shared(item))
        size_bytes += sum(len(content) for name, content in large if (name, content) not in self._counted)
        if size_bytes > self._bytes_left or len(recordings) >= self._files_left:
            return (
                f"left out: the snapshot is full, which may have {size_words(self._limits.max_total_bytes)} of text and "
                f"{self._limits.max_files} files"
            )
        self._counted.update(large)
        self._bytes_left -= size_bytes
        self._files_left -= len(recordings) + 1
        return ""


# Files


def _is_shared(recording: Recording) -> bool:
    """True for what is stored once if several nodes have it alike."""
    return recording.source.startswith(NODES) and recording.size_bytes >= LEAST_SHARED_BYTES


def _files(snapshot: Snapshot) -> dict[PathParts, bytes]:
    """All files of a snapshot, in the order of their paths."""
    placed: dict[PathParts, Recording] = {}
    readings = [(CLUSTER, snapshot.api), (CLUSTER_AFTER, snapshot.api_after)]
    readings += [(cluster_again(number), item.api_after) for number, item in enumerate(snapshot.again, start=1)]
    for directory, recordings in readings:
        for recording in recordings.values():
            _place(placed, (directory,), recording)
    for directory, nodes in _node_directories(snapshot):
        for node, probes in nodes.items():
            for recording in probes.values():
                _place(placed, (directory, node), recording)
    files: dict[PathParts, bytes] = {}
    facts: dict[str, dict[str, object]] = {}
    written: dict[tuple[str, bytes], str] = {}
    for file_path, recording in sorted(placed.items()):
        content = recording.content
        name = "/".join(file_path)
        first = name
        if len(file_path) == depth_of(NODES) and len(content) >= LEAST_SHARED_BYTES:
            first = written.setdefault((file_path[-1], content), name)
        if first == name:
            files[file_path] = gzip.compress(content, mtime=0) if file_path[-1].endswith(".gz") else content
        entry: dict[str, object] = {
            "exit_status": recording.exit_status,
            "http_status": recording.http_status,
            "stderr": recording.stderr or None,
            SAME_AS: first if first != name else None,
        }
        stated = {key: value for key, value in entry.items() if value is not None}
        if stated:
            facts[name] = stated
    return {(MANIFEST,): _manifest_bytes(snapshot, facts), **files}


def _node_directories(snapshot: Snapshot) -> list[tuple[str, Mapping[str, Mapping[str, Recording]]]]:
    """The directories that hold nodes, with what they hold."""
    again = [(nodes_again(number), item.nodes) for number, item in enumerate(snapshot.again, start=1)]
    return [(NODES, snapshot.nodes), *again]


def _manifest_bytes(snapshot: Snapshot, facts: Mapping[str, object]) -> bytes:
    manifest: dict[str, object] = {
        "format": FORMAT,
        "cluster": snapshot.name,
        "taken_at": _moment(snapshot.taken_at),
        **{key: value for key, value in sorted(snapshot.manifest.items()) if key not in _OWN_KEYS},
        **({"again": [{"taken_at": _moment(item.taken_at)} for item in snapshot.again]} if snapshot.again else {}),
        "gaps": [
            {"node": gap.node, "subject": gap.subject, "reason": gap.reason, "kind": gap.kind.value}
            for gap in sorted(snapshot.gaps, key=gap_order)
        ],
        "files": facts,
    }
    return redact(json.dumps(manifest, indent=1, ensure_ascii=False).encode(errors="replace") + b"\n")


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _place(placed: dict[PathParts, Recording], directory: PathParts, recording: Recording) -> None:
    path = (*directory, recording.source.rpartition("/")[2])
    if path in placed:
        raise SnapshotError(f"two recordings have the same place in the snapshot: {'/'.join(path)}")
    placed[path] = recording


def _check_path(path: PathParts) -> None:
    for part in path:
        if not part or part.startswith(".") or "/" in part or not part.isprintable():
            raise SnapshotError(f"{part!r} cannot be part of a path in a snapshot")


def _is_archive(path: Path) -> bool:
    return path.name.endswith((".tar.gz", ".tgz"))


def _write_archive(path: Path, files: Mapping[PathParts, bytes], empty: list[PathParts]) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for directory in empty:
                member = tarfile.TarInfo("/".join(directory))
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            for file_path, content in files.items():
                member = tarfile.TarInfo("/".join(file_path))
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _write_directory(path: Path, files: Mapping[PathParts, bytes], empty: list[PathParts]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise SnapshotError(f"{path} is not empty", hint="name a new directory")
    for directory in empty:
        path.joinpath(*directory).mkdir(parents=True)
    for file_path, content in files.items():
        target = path.joinpath(*file_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
