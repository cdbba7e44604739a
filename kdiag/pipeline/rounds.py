"""Nodes that were read several times: what was not settled the first time is judged by a later reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kdiag.compare.causes import group
from kdiag.model.cluster import ClusterState
from kdiag.model.dataplane import ServicePortKey
from kdiag.model.difference import Comparison, Condition, Difference, Unclear
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording, Snapshot
from kdiag.parse.api import Known, parse_cluster
from kdiag.pipeline.settling import may_differ, moved_between, services_may_have_passed, young_services


class LaterRound(Struct, frozen=True, kw_only=True):
    """One later round: the nodes' probes, and the API before and after them."""

    probes: Mapping[str, Mapping[str, Recording]]
    before: ClusterState
    cluster: ClusterState
    young: frozenset[ObjectKey]
    may_differ: frozenset[ObjectKey]
    came_and_went: bool


def later_rounds(snapshot: Snapshot, settle_s: float) -> tuple[tuple[LaterRound, ...], tuple[Gap, ...]]:
    """The later rounds of a snapshot, oldest first. The reading after one round is the one before the next."""
    recordings = {**snapshot.api, **snapshot.api_after}
    rounds: list[LaterRound] = []
    gaps: list[Gap] = []
    before: ClusterState | None = None
    known: Known = {}
    for item in snapshot.again:
        if before is None:
            before, _ = parse_cluster(recordings, known=known)
        recordings = {**recordings, **item.api_after}
        cluster, found = parse_cluster(recordings, known=known)
        gaps += found
        rounds.append(
            LaterRound(
                probes=item.nodes,
                before=before,
                cluster=cluster,
                young=young_services(cluster, item.taken_at, settle_s) | moved_between(before, cluster),
                may_differ=may_differ(before, cluster),
                came_and_went=services_may_have_passed(before, cluster),
            )
        )
        before = cluster
    return tuple(rounds), tuple(gaps)


def unsettled_ports(comparison: Comparison) -> frozenset[ServicePortKey]:
    """The Service ports that changed while the node was read."""
    return frozenset(
        service_port for item in comparison.unclear if item.unsettled for service_port in item.service_ports
    )


def is_unsettled(comparison: Comparison) -> bool:
    """True if something is left that only a later reading can judge."""
    return any(item.unsettled for item in comparison.unclear)


def join_rounds(first: Comparison, later: Sequence[Comparison], conditions: Sequence[Condition]) -> Comparison:
    """The comparison of the first reading, with what was unsettled in it judged by the first later one that can.

    Settled verdicts of the first reading stand: a later one is asked about nothing else. An address that may have been
    that of a Service which came and went is at fault if a later reading meets it again: between two readings of a node
    lies more than the normal lag. `conditions` are those of the first. What no reading could settle stays unsettled.
    """
    pending = unsettled_ports(first)
    if not is_unsettled(first) or not later:
        return first
    differences = [item for found in first.groups for item in found.differences]
    differences += _met_again(first.passing, later)
    unclear = [item for item in first.unclear if not item.unsettled]
    for comparison in later:
        still = unsettled_ports(comparison)
        settled = pending - still
        differences = [item for item in differences if item.service_port not in settled]
        differences += [
            item for found in comparison.groups for item in found.differences if item.service_port in settled
        ]
        unclear += _about(comparison, settled)
        pending &= still
    unclear += [
        replace(item, service_ports=tuple(sorted(pending)))
        for item in first.unclear
        if item.unsettled and item.service_ports and pending
    ]
    return replace(first, groups=group(first.node, differences, conditions), unclear=tuple(unclear), passing=())


def _met_again(passing: Sequence[Difference], later: Sequence[Comparison]) -> list[Difference]:
    """What the first later reading says that meets one of these addresses again."""
    wanted = {item.frontend for item in passing}
    found: list[Difference] = []
    for comparison in later:
        told = (item for explained in comparison.groups for item in explained.differences)
        again = [item for item in (*comparison.passing, *told) if item.frontend in wanted]
        wanted -= {item.frontend for item in again}
        found += again
    return found


def _about(comparison: Comparison, service_ports: frozenset[ServicePortKey]) -> list[Unclear]:
    """What is unclear of these Service ports for another reason than change."""
    found = []
    for item in comparison.unclear:
        named = tuple(service_port for service_port in item.service_ports if service_port in service_ports)
        if named and not item.unsettled:
            found.append(replace(item, service_ports=named))
    return found
