"""The snapshot store: raw text in a directory or an archive, read and written as docs/snapshot-format.md says."""

from __future__ import annotations

import gzip
import importlib.resources
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from kdiag.errors import SnapshotError
from kdiag.gather.archive import (
    CLUSTER,
    CLUSTER_AFTER,
    MANIFEST,
    NODES,
    Contents,
    Limits,
    PathParts,
    cluster_again,
    depth_of,
    nodes_again,
    read_contents,
)
from kdiag.gather.redact import redact
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Recording, Round, Snapshot

__all__ = ["FORMAT", "Limits", "check_destination", "demo_snapshot", "read_snapshot", "write_snapshot"]

FORMAT = "kdiag/snapshot/v1"
"""Value of the manifest's `format`. The number grows when an older kdiag would misread a newer snapshot."""

_FORMAT_PREFIX = "kdiag/snapshot/"
_REQUESTS = "_requests"
_STDERR = ".stderr"
_ENDINGS = ("", "json", "txt", "log", "conf")
"""Which of several files of one probe bears the probe's name, best first; the others keep their whole name."""

_ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar.zst", ".tar")
_UNWRITTEN_ENDINGS = (".tar", ".tar.zst", ".tar.xz", ".tar.bz2", ".zip")
"""Endings that promise a form of archive which is not written."""

_SECRET_KINDS = ("secret", "secrets", "kubeconfig")
_SECRET_LIST = re.compile(rb'"kind"\s*:\s*"Secret(?:List)?"')
_OWN_KEYS = ("format", "cluster", "taken_at", "again", "files", "gaps")
"""Keys of the manifest that are written from the snapshot's own fields."""


def read_snapshot(path: Path, *, limits: Limits = Limits()) -> Snapshot:  # noqa: B008 - frozen, shared on purpose
    """The snapshot at `path`: a directory, a `.tar`, a `.tar.gz` or a `.tar.zst`.

    A part that cannot be read is a gap of the snapshot. Raises SnapshotError if nothing can be read or if the
    snapshot was written in a later format.
    """
    contents = read_contents(path, limits)
    gaps = [_gap_at(problem.path, problem.reason) for problem in contents.problems]
    manifest = _manifest(contents, gaps)
    stated = _FileFacts(manifest, gaps)
    api = _api(contents, CLUSTER, stated, gaps)
    api_after = _api(contents, CLUSTER_AFTER, stated, gaps)
    nodes = _nodes(contents, NODES, stated, gaps)
    again = _again(contents, manifest, stated, gaps)
    if not api and not any(nodes.values()) and manifest.get("format") != FORMAT:
        reasons = "; ".join(f"{gap.subject}: {gap.reason}" for gap in sorted(set(gaps))[:3])
        raise SnapshotError(
            f"{path} holds no snapshot: neither cluster/ nor nodes/ has anything that can be read"
            + (f" ({reasons})" if reasons else ""),
            hint="name the directory or archive that `kdiag collect` wrote",
        )
    return Snapshot(
        name=printable(_text_at(manifest, "cluster") or _text_at(manifest, "name") or _name_of(path)),
        taken_at=_taken_at(manifest, gaps),
        api=api,
        api_after=api_after,
        nodes=nodes,
        again=again,
        manifest=manifest,
        gaps=tuple(sorted({*gaps, *_stated_gaps(manifest)}, key=_gap_order)),
    )


def demo_snapshot() -> Snapshot:
    """The recorded cluster that comes with kdiag."""
    resource = importlib.resources.files("kdiag").joinpath("demo", "cluster.tar.gz")
    with importlib.resources.as_file(resource) as path:
        return read_snapshot(path)


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


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Writes a snapshot as a directory, or as one archive if `path` ends in `.tar.gz` or `.tgz`.

    The inverse of `read_snapshot`; the same snapshot gives the same bytes. Kubeconfigs, tokens and private keys are
    blotted out and Secrets left out. An existing archive is replaced; a directory must be new or empty.
    Raises SnapshotError if `path` cannot be written or a name does not fit into a path.
    """
    if path.name.endswith(_UNWRITTEN_ENDINGS):
        raise SnapshotError(f"cannot write snapshot {path} in this form", hint="name a .tar.gz file or a directory")
    files = _files(snapshot)
    empty: list[PathParts] = [
        (directory, node)
        for directory, nodes in _node_directories(snapshot)
        for node, probes in sorted(nodes.items())
        if not probes
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


# Reading


class _FileFacts:
    """What the manifest says of single files: `files` maps a path to exit_status, stderr and http_status."""

    def __init__(self, manifest: Mapping[str, object], gaps: list[Gap]) -> None:
        files = manifest.get("files")
        if files is not None and not isinstance(files, Mapping):
            gaps.append(_gap_at((MANIFEST,), "`files` is not an object: exit statuses are unknown"))
        self._files: Mapping[object, object] = files if isinstance(files, Mapping) else {}

    def recording(self, source: PathParts, content: bytes, *, stderr: bytes = b"") -> Recording:
        """The recording of one file."""
        name = "/".join(source)
        entry = self._files.get(name)
        facts: Mapping[object, object] = entry if isinstance(entry, Mapping) else {}
        stated = facts.get("stderr")
        return Recording(
            source=name,
            content=content,
            exit_status=_integer(facts.get("exit_status")),
            stderr=stated if isinstance(stated, str) else stderr.decode("utf-8", errors="replace"),
            http_status=_integer(facts.get("http_status")),
        )


def _manifest(contents: Contents, gaps: list[Gap]) -> Mapping[str, object]:
    for name in (MANIFEST, f"{MANIFEST}.gz"):
        content = contents.files.get((name,))
        if content is None:
            continue
        manifest = _json(content)
        if not isinstance(manifest, dict):
            gaps.append(_gap_at((name,), "not a JSON object: it was ignored"))
            return {}
        stated = manifest.get("format")
        if isinstance(stated, str) and stated.startswith(_FORMAT_PREFIX) and stated != FORMAT:
            raise SnapshotError(
                f"the snapshot has format {printable(stated)}, this kdiag reads {FORMAT}", hint="use a newer kdiag"
            )
        return manifest
    return {}


def _api(contents: Contents, directory: str, stated: _FileFacts, gaps: list[Gap]) -> dict[str, Recording]:
    recordings = _recordings(contents, (directory,), stated, gaps)
    requests = recordings.pop(_REQUESTS, None)
    if requests is None:
        return recordings
    statuses = _json(requests.content)
    if not isinstance(statuses, dict):
        gaps.append(_gap_at(tuple(requests.source.split("/")), "not a JSON object: it was ignored"))
        return recordings
    out: dict[str, Recording] = {}
    for kind, recording in recordings.items():
        entry = statuses.get(kind)
        status = _integer(entry.get("http_status")) if isinstance(entry, dict) else None
        if status is not None and recording.http_status is None:
            recording = Recording(
                source=recording.source,
                content=recording.content,
                exit_status=recording.exit_status,
                stderr=recording.stderr,
                http_status=status,
            )
        out[kind] = recording
    return out


def _nodes(contents: Contents, first: str, stated: _FileFacts, gaps: list[Gap]) -> dict[str, Mapping[str, Recording]]:
    """The probes of all nodes below a directory, by node."""
    return {
        directory[1]: _recordings(contents, directory, stated, gaps)
        for directory in sorted(contents.directories)
        if directory[0] == first and len(directory) == 2
    }


def _again(
    contents: Contents, manifest: Mapping[str, object], stated: _FileFacts, gaps: list[Gap]
) -> tuple[Round, ...]:
    """The later rounds, up to the first number that is not there."""
    listed = manifest.get("again")
    times = [_taken_at(entry, gaps) for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    rounds: list[Round] = []
    while True:
        number = len(rounds) + 1
        found = Round(
            taken_at=times[number - 1] if number <= len(times) else None,
            nodes=_nodes(contents, nodes_again(number), stated, gaps),
            api_after=_api(contents, cluster_again(number), stated, gaps),
        )
        if not found.nodes and not found.api_after:
            return tuple(rounds)
        rounds.append(found)


def _recordings(contents: Contents, directory: PathParts, stated: _FileFacts, gaps: list[Gap]) -> dict[str, Recording]:
    """The files of one directory by probe (or kind), sorted."""
    by_stem: dict[str, dict[str, PathParts]] = {}
    for path in sorted(contents.files):  # `x.txt` comes before `x.txt.gz`
        if path[:-1] != directory:
            continue
        bare = path[-1].removesuffix(".gz")
        stem, _, ending = bare.rpartition(".") if "." in bare else (bare, "", "")
        other = by_stem.setdefault(stem, {}).setdefault(ending, path)
        if other != path:
            gaps.append(_gap_at(path, f"not read: {'/'.join(other)} is there too"))
    found: dict[str, PathParts] = {}
    errors: dict[str, PathParts] = {}
    for stem, by_ending in by_stem.items():
        ranked = sorted(by_ending, key=lambda ending: (_rank(ending), ending))
        for place, ending in enumerate(ranked):
            probe = stem if place == 0 else f"{stem}.{ending}"
            if stem.endswith(_STDERR):
                errors.setdefault(stem.removesuffix(_STDERR), by_ending[ending])
            else:
                found[probe] = by_ending[ending]
    out: dict[str, Recording] = {}
    for probe in sorted({*found, *errors}):
        stderr = contents.files[errors[probe]] if probe in errors else b""
        if probe in found:
            out[probe] = stated.recording(found[probe], contents.files[found[probe]], stderr=stderr)
        else:  # the command printed nothing else
            out[probe] = stated.recording((*directory, f"{probe}.txt"), b"", stderr=stderr)
    return out


def _rank(ending: str) -> int:
    return _ENDINGS.index(ending) if ending in _ENDINGS else len(_ENDINGS)


def _stated_gaps(manifest: Mapping[str, object]) -> Iterator[Gap]:
    """Gaps that were noted when the snapshot was taken."""
    listed = manifest.get("gaps")
    if listed is None:
        return
    if not isinstance(listed, list):
        yield _gap_at((MANIFEST,), "`gaps` is not a list: what could not be gathered is unknown")
        return
    for entry in listed:
        facts: Mapping[str, object] = entry if isinstance(entry, dict) else {}
        subject, reason, node = (_text_at(facts, key) for key in ("subject", "reason", "node"))
        kind = _text_at(facts, "kind") or GapKind.FAILED
        if not subject or kind not in list(GapKind):
            yield _gap_at((MANIFEST,), "an entry of `gaps` has no subject or an unknown kind")
            continue
        yield Gap(
            node=printable(node) if node else None,
            subject=printable(subject),
            reason=printable(reason or ""),
            kind=GapKind(kind),
        )


def _taken_at(manifest: Mapping[str, object], gaps: list[Gap]) -> datetime | None:
    stated = manifest.get("taken_at", manifest.get("recorded_at"))
    if stated is None:
        return None
    try:
        moment = datetime.fromisoformat(stated) if isinstance(stated, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.year in (datetime.min.year, datetime.max.year):  # the last two overflow in UTC
        gaps.append(_gap_at((MANIFEST,), "the time it was taken at is not an RFC 3339 time"))
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _gap_at(path: PathParts, reason: str) -> Gap:
    node = path[1] if len(path) > 1 and depth_of(path[0]) == depth_of(NODES) else None
    return Gap(node=printable(node) if node else None, subject=printable("/".join(path) or "snapshot"), reason=reason)


def _gap_order(gap: Gap) -> tuple[str, str, str, str]:
    return (gap.node or "", gap.subject, gap.reason, gap.kind)


def _json(content: bytes) -> object:
    """The value of JSON text, None if it is none."""
    try:
        value: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text_at(mapping: Mapping[str, object], key: str) -> str | None:
    value = mapping.get(key)
    return value if isinstance(value, str) else None


def printable(text: str) -> str:
    """Text from a stranger without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _name_of(path: Path) -> str:
    name = path.resolve().name
    for ending in _ARCHIVE_ENDINGS:
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name or "snapshot"


# Writing


def _files(snapshot: Snapshot) -> dict[PathParts, bytes]:
    """All files of a snapshot, redacted, in the order of their paths."""
    placed: dict[PathParts, Recording] = {}
    readings = [(CLUSTER, snapshot.api), (CLUSTER_AFTER, snapshot.api_after)]
    readings += [(cluster_again(number), item.api_after) for number, item in enumerate(snapshot.again, start=1)]
    for directory, recordings in readings:
        for kind, recording in recordings.items():
            if not _is_secret(kind, recording):
                _place(placed, (directory,), recording)
    for directory, nodes in _node_directories(snapshot):
        for node, probes in nodes.items():
            for recording in probes.values():
                _place(placed, (directory, node), recording)
    files: dict[PathParts, bytes] = {}
    facts: dict[str, dict[str, object]] = {}
    for file_path, recording in sorted(placed.items()):
        content = redact(recording.content)
        files[file_path] = gzip.compress(content, mtime=0) if file_path[-1].endswith(".gz") else content
        entry: dict[str, object] = {
            "exit_status": recording.exit_status,
            "http_status": recording.http_status,
            "stderr": redact(recording.stderr.encode(errors="replace")).decode() or None,
        }
        stated = {key: value for key, value in entry.items() if value is not None}
        if stated:
            facts["/".join(file_path)] = stated
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
            for gap in sorted(snapshot.gaps, key=_gap_order)
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


def _is_secret(kind: str, recording: Recording) -> bool:
    """True for what a snapshot never holds, whatever it is named."""
    return kind.lower() in _SECRET_KINDS or _SECRET_LIST.search(recording.content, 0, 4096) is not None


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
