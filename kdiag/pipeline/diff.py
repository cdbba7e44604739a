"""Two looks at a cluster, and what is different."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec.structs import replace

from kdiag.errors import ParseError, UsageError
from kdiag.gather.snapshot_reader import read_snapshot
from kdiag.model.change import Change, ChangeKind, PlaneChange
from kdiag.model.dataplane import DataPlane, Disposition, ServicePortKey
from kdiag.model.report import Finding, Gap, Report
from kdiag.model.snapshot import Snapshot
from kdiag.model.view import View
from kdiag.parse.report_document import parse_report
from kdiag.pipeline.flow import Scope, diagnose, is_chosen, is_wanted
from kdiag.pipeline.viewing import build_view

REPORT_LIMIT_BYTES = 256 << 20

_Key = tuple[str, str, str]
"""Service, port, frontend."""


def open_look(path: Path) -> Snapshot | Report:
    """The snapshot or the JSON report at a path. Raises KdiagError."""
    if not path.is_file():
        return read_snapshot(path)
    try:
        with path.open("rb") as file:
            start = file.read(64)
            if not start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
                return read_snapshot(path)
            content = start + file.read(REPORT_LIMIT_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return parse_report(content.removeprefix(b"\xef\xbb\xbf"))
    except ParseError as error:
        raise UsageError(
            f"{path} is {error.message}", hint="name a snapshot, or what kdiag preflight -o json wrote"
        ) from None


def narrowed(look: Snapshot | Report, scope: Scope) -> Snapshot | Report:
    """A report with the findings that the scope asks for; snapshots are judged by it later."""
    if not isinstance(look, Report):
        return look
    found = (item for item in look.findings if is_chosen(item.code, scope) and is_wanted(item, (), scope.namespace))
    return replace(look, findings=tuple(found))


def compare_looks(before: Snapshot | Report, after: Snapshot | Report, scope: Scope) -> Change:
    """What is different. Snapshots are judged first, both as `scope` says; of two, the data planes are compared too."""
    change = compare_reports(
        before if isinstance(before, Report) else diagnose(before, scope),
        after if isinstance(after, Report) else diagnose(after, scope),
    )
    if isinstance(before, Report) or isinstance(after, Report) or scope.without_nodes:
        return change
    earlier, _ = build_view(before, nodes=scope.nodes, settle_s=scope.settle_s, every_port=True)
    later, _ = build_view(after, nodes=scope.nodes, settle_s=scope.settle_s, every_port=True)
    changes, compared = plane_changes(earlier, later)
    names = {str(key) for key in scope.services}
    wanted = tuple(
        item
        for item in changes
        if (not names or item.service in names)
        and (scope.namespace is None or item.service.startswith(f"{scope.namespace}/"))
    )
    return replace(change, plane=wanted, nodes_compared=compared)


def compare_reports(before: Report, after: Report) -> Change:
    """Findings and gaps matched one to one, in the order of the reports."""
    new, unchanged = _split(after.findings, before.findings)
    gone, _ = _split(before.findings, after.findings)
    return Change(
        before=before,
        after=after,
        new=new,
        gone=gone,
        unchanged=unchanged,
        new_gaps=_without(after.gaps, before.gaps),
        gone_gaps=_without(before.gaps, after.gaps),
    )


def finding_key(finding: Finding) -> tuple[str, ...]:
    """What makes a finding the same one later: its cause (code and title) and its place, not its words."""
    return (
        finding.code,
        finding.title,
        finding.node or "",
        finding.service or "",
        finding.port or "",
        finding.frontend or "",
    )


def _split(these: Iterable[Finding], others: Iterable[Finding]) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Those that the others lack, and those that they have; of several with one key as many as there are."""
    left = Counter(finding_key(finding) for finding in others)
    lacking: list[Finding] = []
    shared: list[Finding] = []
    for finding in these:
        key = finding_key(finding)
        if left[key]:
            left[key] -= 1
            shared.append(finding)
        else:
            lacking.append(finding)
    return tuple(lacking), tuple(shared)


def _without(these: Iterable[Gap], others: Iterable[Gap]) -> tuple[Gap, ...]:
    """Gaps are the same if node, subject and kind are: reasons hold numbers and times."""
    known = {(gap.node, gap.subject, gap.kind) for gap in others}
    return tuple(gap for gap in these if (gap.node, gap.subject, gap.kind) not in known)


def plane_changes(before: View, after: View) -> tuple[tuple[PlaneChange, ...], int]:
    """What nodes do otherwise than before, and how many were compared: those whose rules could be read both times."""
    nodes = [
        (old.name, old.actual, new.actual)
        for old in before.nodes
        if (new := after.node_by_name.get(old.name)) is not None and old.actual is not None and new.actual is not None
    ]
    texts = {
        ServicePortKey(service=service.key, port_name=item.name, protocol=item.protocol): (str(service.key), item.label)
        for cluster in (before.cluster, after.cluster)
        for service in cluster.services
        for item in service.ports
    }
    where: dict[tuple[str, str, ChangeKind, str, str], list[str]] = {}
    for name, old_plane, new_plane in nodes:
        earlier, later = _states(old_plane, texts), _states(new_plane, texts)
        for key in sorted({*earlier, *later}):
            for kind, backend in _differences(earlier.get(key), later.get(key)):
                service, port, frontend = key
                where.setdefault((service, port, kind, backend, frontend), []).append(name)
    everywhere = len(nodes)
    grouped: dict[tuple[str, str, ChangeKind, str, tuple[str, ...]], list[str]] = {}
    for (service, port, kind, backend, frontend), names in where.items():
        places = () if len(names) == everywhere else tuple(sorted(names))
        grouped.setdefault((service, port, kind, backend, places), []).append(frontend)
    changes = [
        PlaneChange(
            service=service, port=port, kind=kind, backend=backend, frontends=tuple(sorted(frontends)), nodes=places
        )
        for (service, port, kind, backend, places), frontends in grouped.items()
    ]
    return tuple(sorted(changes)), everywhere


def _states(
    plane: DataPlane, texts: Mapping[ServicePortKey, tuple[str, str]]
) -> dict[_Key, tuple[set[str], set[Disposition]]]:
    """Endpoints and other ends of every frontend, over all places of the client. What goes through untouched is no end."""
    out: dict[_Key, tuple[set[str], set[Disposition]]] = {}
    for frontend, behaviour in plane.behaviours.items():
        key = behaviour.service_port
        service, port = ("", "") if key is None else texts.get(key, (str(key.service), key.port_name))
        # One NodePort has as many frontends as the node has addresses.
        label = (
            f"node port {frontend.port}/{frontend.protocol}" if frontend.kind.value == "NodePort" else frontend.label
        )
        outcomes = [outcome for case in behaviour.cases for outcome in case.outcomes]
        backends = {str(backend) for outcome in outcomes for backend in outcome.backends}
        ends = {end for outcome in outcomes for end in outcome.dispositions} - {Disposition.UNTRANSLATED}
        if ends:
            known = out.setdefault((service, port, label), (set(), set()))
            known[0].update(backends)
            known[1].update(ends)
    return out


def _differences(
    old: tuple[set[str], set[Disposition]] | None, new: tuple[set[str], set[Disposition]] | None
) -> list[tuple[ChangeKind, str]]:
    found: list[tuple[ChangeKind, str]] = []
    if old is None:
        found.append((ChangeKind.PROGRAMMED, ""))
    if new is None:
        found.append((ChangeKind.GONE, ""))
    if old is None or new is None:
        return found
    found += [(ChangeKind.BACKEND_ADDED, backend) for backend in sorted(new[0] - old[0])]
    found += [(ChangeKind.BACKEND_REMOVED, backend) for backend in sorted(old[0] - new[0])]
    for end, begins, ceases in (
        (Disposition.REJECTED, ChangeKind.REFUSED, ChangeKind.NOT_REFUSED),
        (Disposition.DROPPED, ChangeKind.DROPPED, ChangeKind.NOT_DROPPED),
    ):
        if (end in new[1]) != (end in old[1]):
            found.append((begins if end in new[1] else ceases, ""))
    return found
