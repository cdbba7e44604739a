"""From a snapshot to what the user asked for: a report, the settings, or a trace."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from kdiag import __version__
from kdiag.checks import SLUGS, check_of
from kdiag.checks.interface import Check
from kdiag.errors import UsageError
from kdiag.gather.snapshot_reader import demo_snapshot, read_snapshot
from kdiag.model.addresses import Network
from kdiag.model.facts import Facts
from kdiag.model.lookup import find_node, find_service
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Finding, Gap, GapKind, Report
from kdiag.model.snapshot import Snapshot
from kdiag.model.view import View
from kdiag.pipeline.stages import note, stage
from kdiag.pipeline.viewing import build_view, settings_of

if TYPE_CHECKING:
    from kdiag.model.overview import AddressRanges, Overview
    from kdiag.model.trace import Trace, TraceTarget


class Scope(Struct, frozen=True, kw_only=True):
    """What the user asked for.

    `select` and `ignore` are codes or their beginnings (`KD2`); an empty `select` means all. `services` and `namespace`
    narrow the findings to these Services; findings on the cluster or a whole node stay. `settle_s` is the lag in
    seconds that is normal for a proxy. `with_ranges` and `with_overview` fill what the report has of that name: maps and
    pages need it, and it costs time. `last` tells that the process ends after this.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    services: tuple[ObjectKey, ...] = ()
    namespace: str | None = None
    nodes: tuple[str, ...] = ()
    without_nodes: bool = False
    reserved: tuple[Network, ...] = ()
    settle_s: float = 30.0
    with_ranges: bool = False
    with_overview: bool = False
    last: bool = False


def open_snapshot(path: Path | None, *, demo: bool) -> Snapshot:
    """The snapshot at a path, or the demo cluster that comes with kdiag."""
    if demo:
        with stage("read the demo cluster"):
            return demo_snapshot()
    if path is None:
        raise UsageError("no snapshot was named", hint="use --snapshot PATH, or --demo for the demo cluster")
    with stage(f"read the snapshot {path}"):
        snapshot = read_snapshot(path)
    for node, recordings in snapshot.nodes.items():
        note(f"node {node}: {sum(item.size_bytes for item in recordings.values())} bytes in {len(recordings)} files")
    return snapshot


def diagnose(snapshot: Snapshot, scope: Scope) -> Report:
    """Judge the cluster of a snapshot.

    Raises TargetError if the scope names a Service or a node that is not there.
    """
    with stage(f"read and compare the rules of {len(snapshot.nodes)} nodes"):
        view, gaps = build_view(
            snapshot,
            nodes=scope.nodes,
            without_nodes=scope.without_nodes,
            reserved=scope.reserved,
            settle_s=scope.settle_s,
            in_detail=scope.with_overview,
        )
        _let_go(view, scope)
    wanted = tuple(find_service(view.cluster, key).key for key in scope.services)
    for name in scope.nodes:
        find_node(view.cluster, name, also=snapshot.nodes)
    chosen = [check_of(code) for code in SLUGS if is_chosen(code, scope)]
    findings: list[Finding] = []
    with stage(f"run {len(chosen)} checks"):
        for check in chosen:
            with stage(f"{check.code} {check.slug}", detail=True):
                findings.extend(check.run(view))
    shown = sorted((finding for finding in findings if is_wanted(finding, wanted, scope.namespace)), key=finding_order)
    overview: Overview | None = None
    ranges: AddressRanges | None = None
    # Maps, pages and traces have modules of their own, which no other answer needs.
    if scope.with_overview:
        from kdiag.pipeline.overview import overview_of

        left_out = [check_of(code) for code in SLUGS if not is_chosen(code, scope)]
        overview = overview_of(view, shown, run=chosen, left_out=left_out, services=wanted, namespace=scope.namespace)
    if scope.with_ranges:
        from kdiag.pipeline.ranges import address_ranges

        ranges = address_ranges(view)
    return Report(
        cluster=view.name,
        kdiag_version=__version__,
        server_version=view.cluster.server_version,
        taken_at=view.taken_at,
        nodes_known=len(view.nodes),
        nodes_judged=sum(1 for node in view.nodes if node.comparison is not None),
        services_judged=_services_judged(view),
        frontends_judged=sum(node.comparison.judged for node in view.nodes if node.comparison is not None),
        findings=tuple(shown),
        gaps=tuple(sorted(_relevant(gaps, chosen), key=_gap_order)),
        modes={node.name: str(node.mode) for node in view.nodes if node.mode is not None},
        address_ranges=ranges,
        overview=overview,
    )


def collect_settings(snapshot: Snapshot) -> Facts:
    """Every address setting that the snapshot states, with its source."""
    return settings_of(snapshot)


def trace(snapshot: Snapshot, target: TraceTarget, scope: Scope) -> Trace:
    """Follow packets to a target. Raises TargetError if the snapshot does not hold what it names."""
    from kdiag.pipeline.tracing import follow, services_meant

    view, gaps = build_view(
        snapshot, nodes=(), settle_s=scope.settle_s, only=lambda _, cluster: services_meant(cluster, target)
    )
    _let_go(view, scope)
    with stage("follow the packets"):
        found = follow(view, target)
    about = {verdict.node for verdict in found.verdicts}
    unseen = [f"{gap.node}: {gap.subject}: {gap.reason}" for gap in gaps if gap.node and gap.node not in about]
    return replace(found, notes=(*found.notes, *sorted(unseen)))


def _let_go(view: View, scope: Scope) -> None:
    """Leave it in memory after the `last` run of a process: taking it apart takes a fortieth of a run on a large cluster.

    It is part of a circle then: memory is given back where somebody looks for circles after all.
    """
    if scope.last and not gc.isenabled():
        circle: list[object] = [view]
        circle.append(circle)


def is_chosen(code: str, scope: Scope) -> bool:
    """Whether the check of this code is one of those that the scope asks for."""
    if any(code.startswith(beginning) for beginning in scope.ignore):
        return False
    return not scope.select or any(code.startswith(beginning) for beginning in scope.select)


def is_wanted(finding: Finding, services: tuple[ObjectKey, ...], namespace: str | None) -> bool:
    """Whether a finding is about one of these Services or this namespace, or about no Service at all."""
    if not services and namespace is None:
        return True
    names = {name for name in (finding.service, *(item.service for item in finding.affected)) if name}
    if not names:
        return True
    wanted = {str(key) for key in services}
    return any(name in wanted or (namespace is not None and name.startswith(f"{namespace}/")) for name in names)


def _services_judged(view: View) -> int:
    judged = {
        behaviour.service_port.service
        for node in view.nodes
        if node.comparison is not None and node.expected is not None
        for behaviour in node.expected.behaviours.values()
        if behaviour.service_port is not None
    }
    judged = judged.union(*[node.twins for node in view.nodes])
    return len(judged)


def _relevant(gaps: Iterable[Gap], checks: list[Check]) -> list[Gap]:
    """Without a check that looks at nodes, what is missing of the nodes is of no interest."""
    if any(check.needs_nodes for check in checks):
        return list(dict.fromkeys(gaps))
    return [gap for gap in dict.fromkeys(gaps) if gap.node is None or gap.kind is GapKind.NOT_ASKED]


def finding_order(finding: Finding) -> tuple[int, str, str, str, str, str, str]:
    """Sorts findings: the worst first, then by code and place."""
    return (
        finding.severity.rank,
        finding.code,
        finding.node or "",
        finding.service or "",
        finding.port or "",
        finding.frontend or "",
        finding.message,
    )


def _gap_order(gap: Gap) -> tuple[int, str, str, str]:
    kinds = (GapKind.FAILED, GapKind.NOT_APPLICABLE, GapKind.NOT_ASKED)
    return (kinds.index(gap.kind), gap.node or "", gap.subject, gap.reason)
