"""A snapshot read: raw text from a directory or an archive, as docs/snapshot-format.md says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import kdiag
from kdiag.errors import SnapshotError
from kdiag.gather.contents import Contents, Limits
from kdiag.gather.places import read_contents
from kdiag.gather.printable import printable
from kdiag.gather.snapshot_layout import (
    CLUSTER,
    CLUSTER_AFTER,
    FORMAT,
    MANIFEST,
    NODES,
    SAME_AS,
    PathParts,
    cluster_again,
    depth_of,
    gap_order,
    nodes_again,
)
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Recording, Round, Snapshot, Stored

__all__ = ["FORMAT", "Limits", "demo_snapshot", "read_snapshot"]

_FORMAT_PREFIX = "kdiag/snapshot/"
_REQUESTS = "_requests"
_STDERR = ".stderr"
_ENDINGS = ("", "json", "txt", "log", "conf")
"""Which of several files of one probe bears the probe's name, best first; the others keep their whole name."""

_ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar.zst", ".tar")


def read_snapshot(path: Path, *, limits: Limits = Limits()) -> Snapshot:  # noqa: B008 - frozen, shared on purpose
    """The snapshot at `path`: a directory, a `.tar`, a `.tar.gz` or a `.tar.zst`.

    A part that cannot be read is a gap of the snapshot. Raises SnapshotError if nothing can be read or if the
    snapshot was written in a later format.
    """
    contents = read_contents(path, limits)
    gaps = [_gap_at(problem.path, problem.reason) for problem in contents.problems]
    manifest = _manifest(contents, gaps)
    stated = _FileFacts(manifest, gaps)
    _add_shared(contents, stated, limits, gaps)
    api = _api(contents, CLUSTER, stated, gaps)
    api_after = _api(contents, CLUSTER_AFTER, stated, gaps)
    nodes = _nodes(contents, NODES, stated, gaps)
    again = _again(contents, manifest, stated, gaps)
    if not api and not any(nodes.values()) and manifest.get("format") != FORMAT:
        reasons = "; ".join(f"{gap.subject}: {gap.reason}" for gap in sorted(set(gaps), key=gap_order)[:3])
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
        gaps=tuple(sorted({*gaps, *_stated_gaps(manifest)}, key=gap_order)),
    )


def demo_snapshot() -> Snapshot:
    """The recorded cluster that comes with kdiag."""
    return read_snapshot(Path(kdiag.__file__).parent / "demo" / "cluster.tar.gz")


class _FileFacts:
    """What the manifest says of single files: `files` maps a path to exit_status, stderr and http_status."""

    def __init__(self, manifest: Mapping[str, object], gaps: list[Gap]) -> None:
        files = manifest.get("files")
        if files is not None and not isinstance(files, Mapping):
            gaps.append(_gap_at((MANIFEST,), "`files` is not an object: exit statuses are unknown"))
        self._files: Mapping[object, object] = files if isinstance(files, Mapping) else {}

    def shared(self) -> Iterator[tuple[PathParts, PathParts]]:
        """Files that stand at another node: their paths, and where they stand."""
        for name, entry in self._files.items():
            target = entry.get(SAME_AS) if isinstance(entry, Mapping) else None
            if isinstance(name, str) and isinstance(target, str):
                yield tuple(name.split("/")), tuple(target.split("/"))

    def recording(self, source: PathParts, content: bytes | Stored, *, stderr: bytes = b"") -> Recording:
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


def _add_shared(contents: Contents, stated: _FileFacts, limits: Limits, gaps: list[Gap]) -> None:
    """Gives nodes the files that are stored at another one: the same bytes, which are there once."""
    found: dict[PathParts, bytes | Stored] = {}
    for path, target in stated.shared():
        if not all(_is_node_file(item) for item in (path, target)) or path[-1] != target[-1]:
            gaps.append(_gap_at((MANIFEST,), f"`{SAME_AS}` of a file does not name another node's file of that name"))
        elif target not in contents.files:
            gaps.append(_gap_at(path, f"it is the same as {printable('/'.join(target))}, which is not there"))
        elif len(contents.files) + len(found) >= limits.max_files:
            gaps.append(_gap_at((), f"it holds more than {limits.max_files} files: the rest was not read"))
            break
        elif path not in contents.files:
            found[path] = contents.files[target]
    contents.files.update(found)
    contents.directories.update(path[:-1] for path in found)


def _is_node_file(path: PathParts) -> bool:
    """True for a path below a node, as one in a snapshot may be."""
    in_place = len(path) == depth_of(NODES) == depth_of(path[0])
    return in_place and all(part and not part.startswith(".") and part.isprintable() for part in path)


def _manifest(contents: Contents, gaps: list[Gap]) -> Mapping[str, object]:
    for name in (MANIFEST, f"{MANIFEST}.gz"):
        content = contents.files.get((name,))
        if content is None:
            continue
        manifest = _json(_read(content))
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
            recording = recording.replaced(http_status=status)
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
        stderr = _read(contents.files[errors[probe]]) if probe in errors else b""
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


def _read(content: bytes | Stored) -> bytes:
    return content if isinstance(content, bytes) else content.read()


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


def _name_of(path: Path) -> str:
    name = path.resolve().name
    for ending in _ARCHIVE_ENDINGS:
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name or "snapshot"
