"""From a snapshot to the view that checks look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from kdiag.expect.outlook import PlainEndpoints
from kdiag.model.addresses import Network
from kdiag.model.cluster import ClusterState
from kdiag.model.facts import FactKind, Facts
from kdiag.model.host import HostFacts
from kdiag.model.objects import ObjectKey
from kdiag.model.proxy import ProxyConfig
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Snapshot
from kdiag.model.view import NodeView, View
from kdiag.parse.api import Known, parse_cluster
from kdiag.parse.facts import collect_facts
from kdiag.parse.host import parse_host
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.proxy_config import cluster_config_map, cluster_proxy_config, effective_config, proxy_configs_of_node
from kdiag.pipeline.evidence import read_evidence
from kdiag.pipeline.keeping import for_checks, without_ways
from kdiag.pipeline.nodes import NodeInput, NodeResult, examine_node, unexamined
from kdiag.pipeline.proxy_wanted import asks_rules
from kdiag.pipeline.rounds import LaterRound, later_rounds
from kdiag.pipeline.settling import (
    last_changes,
    may_differ,
    moved_between,
    read_at,
    services_may_have_passed,
    young_among,
)
from kdiag.pipeline.trust import endpoints_are_sound
from kdiag.planes.detection import config_from_rules
from kdiag.planes.interface import NodeEvidence


def read_cluster(
    snapshot: Snapshot, *, few_endpoints: bool = False, known: Known | None = None
) -> tuple[ClusterState, tuple[Gap, ...]]:
    """The API as it was when the nodes were read (the later reading, if there are two)."""
    return parse_cluster({**snapshot.api, **snapshot.api_after}, few_endpoints=few_endpoints, known=known)


def _readings(
    snapshot: Snapshot, only: Callable[[ClusterState, ClusterState], AbstractSet[ObjectKey] | None] | None
) -> tuple[ClusterState, ClusterState, list[Gap], AbstractSet[ObjectKey] | None]:
    """The API before and after the nodes were read, what could not be read of it, and the Services that are asked about."""
    for few_endpoints in (only is not None, False):
        known: Known | None = {} if snapshot.api_after else None
        cluster, found = read_cluster(snapshot, few_endpoints=few_endpoints, known=known)
        before, gaps = cluster, [*found]
        if snapshot.api_after:
            before, earlier = parse_cluster(snapshot.api, few_endpoints=few_endpoints, known=known)
            gaps += earlier
        asked = None if only is None else only(before, cluster)
        # What is odd is told as it is where all is read.
        if not few_endpoints or (
            endpoints_are_sound(cluster, asked) and (before is cluster or endpoints_are_sound(before, asked))
        ):
            break
    return before, cluster, gaps, asked


def build_view(
    snapshot: Snapshot,
    *,
    nodes: tuple[str, ...] = (),
    without_nodes: bool = False,
    reserved: tuple[Network, ...] = (),
    settle_s: float = 30.0,
    only: Callable[[ClusterState, ClusterState], AbstractSet[ObjectKey] | None] | None = None,
    every_port: bool = False,
    in_detail: bool = True,
) -> tuple[View, tuple[Gap, ...]]:
    """Parse the snapshot, work out both data planes of every node and compare them.

    `nodes` narrows the work to these; `without_nodes` leaves all of them out. `only` is given the API before and after the
    nodes were read, and names the Services that are asked about (None: all): of nodes with many rules the others may be left
    out. With `every_port` the data planes have every Service port,
    also those that are like another in everything (`NodeView.twins`). Without `in_detail` the view has what checks look at, and
    not what traces, overviews and differences do (see `kdiag.pipeline.keeping`). The gaps are the snapshot's own and all
    that came up on the way.
    """
    reason = "by --no-nodes"
    if snapshot.manifest.get("nodes_asked") is False and not snapshot.nodes:
        without_nodes, reason = True, reason if without_nodes else "when the cluster was read"
    before, cluster, gaps_found, asked_about = _readings(snapshot, only)
    gaps: list[Gap] = [*snapshot.gaps, *gaps_found]
    gaps += cluster_config_map(cluster)[1]

    known = sorted({*cluster.node_by_name, *snapshot.nodes})
    recorded = {} if without_nodes else {name: snapshot.nodes[name] for name in known if name in snapshot.nodes}
    hosts: dict[str, HostFacts] = {}
    configs: dict[str, tuple[ProxyConfig, ...]] = {}
    for name in known:
        probes = recorded.get(name, {})
        hosts[name], host_gaps = parse_host(probes, node=name)
        configs[name], config_gaps = proxy_configs_of_node(name, probes, hosts[name], cluster)
        gaps += (*host_gaps, *config_gaps)
    effective = {name: effective_config(found) for name, found in configs.items()}
    cluster_config = cluster_proxy_config(cluster, effective)
    facts = collect_facts(cluster, hosts, configs, snapshot.api)

    examined = dict.fromkeys(name for name in recorded if not nodes or name in nodes)
    in_part = asked_about is not None
    # Dumps that are cut in part have nothing to compare.
    first_cuts: dict[str, CutDump] | None = {} if len(examined) > 1 and not in_part else None

    def evidence_of(name: str) -> NodeEvidence:
        return read_evidence(name, recorded[name], hosts[name], cut=not every_port, in_part=in_part, like=first_cuts)

    # The rules of a node may take a gigabyte of memory: they are read when it is its turn, unless those of all have to be
    # known before.
    kept: dict[str, NodeEvidence] = {}
    from_rules: ProxyConfig | None = None
    if any(asks_rules(effective[name], cluster_config) for name in examined):
        kept = {name: evidence_of(name) for name in examined}
        from_rules = config_from_rules([ruleset for item in kept.values() for ruleset in item.rulesets])
    plain = PlainEndpoints(cluster)
    alike = None
    if first_cuts is not None:
        from kdiag.pipeline.likeness import AlikeNodes

        alike = AlikeNodes()
    two_readings = before is not cluster
    changes = last_changes(cluster) if examined else {}
    moved = moved_between(before, cluster)
    # Where few Services are asked about, nothing is told without a walk.
    unlike = may_differ(before, cluster) if not in_part else frozenset()
    came_and_went = services_may_have_passed(before, cluster)
    rounds, round_gaps = later_rounds(snapshot, settle_s)
    gaps += round_gaps
    told = {gap.node for gap in snapshot.gaps if gap.kind is not GapKind.NOT_ASKED}
    left_out = nodes_left_out(snapshot)

    def examine(name: str) -> NodeResult:
        # What is read here is let go before the next node's is read.
        moment = read_at(hosts[name], snapshot.taken_at, two_readings=two_readings)
        young = young_among(changes, moment, settle_s)
        if not two_readings and len(young) * 2 > len(cluster.services):
            # A cluster of which most is young was built or restored just before, and read when that was done.
            young = frozenset()
        young |= moved
        evidence = kept.pop(name) if name in kept else evidence_of(name)
        given = NodeInput(
            evidence=evidence,
            cluster=cluster,
            before=before,
            configs=configs[name],
            config=effective[name],
            cluster_config=cluster_config,
            from_rules=from_rules,
            service_ranges=facts.networks(FactKind.SERVICE_RANGE),
            plain=plain,
            alike=alike,
            only=asked_about,
            young=young,
            may_differ=unlike,
            # Which Services went together with what changed lately nothing tells but an earlier reading.
            outrun=bool(young) and not two_readings,
            came_and_went=came_and_went,
            in_detail=in_detail,
        )
        found = examine_node(replace(given, later=tuple(_read_again(given, rounds))))
        found = replace(found, view=without_ways(found.view) if in_detail else for_checks(found.view, evidence))
        # Without any rules, all that is missing of them has the reason that is said already.
        if name in told and not evidence.rulesets:
            return replace(found, gaps=tuple(gap for gap in found.gaps if not gap.subject.endswith("rules")))
        return found

    views: list[NodeView] = []
    for name in known:
        if name in examined:
            found = examine(name)
            views.append(found.view)
            gaps += found.gaps
            continue
        asked = not without_nodes and (not nodes or name in nodes) and name not in left_out
        view, gap = unexamined(name, cluster, configs[name], effective[name], asked=asked)
        views.append(view)
        # Why it could not be read is said already, but not that the cluster has given the node up too.
        ready = view.node is None or view.node.ready
        if gap.kind is GapKind.NOT_ASKED or name not in told or (gap.kind is GapKind.FAILED and not ready):
            gaps += [gap]
    return (
        View(
            name=snapshot.name,
            taken_at=snapshot.taken_at,
            cluster=cluster,
            before=before,
            facts=facts,
            nodes=tuple(views),
            cluster_config=cluster_config,
            reserved=reserved,
            settle_s=settle_s,
        ),
        tuple(_one_for_all(gaps, known, reason) if without_nodes else gaps),
    )


def _read_again(given: NodeInput, rounds: tuple[LaterRound, ...]) -> Iterator[NodeInput]:
    """The same node as each later round shows it that read it."""
    name = given.evidence.node_name
    for item in rounds:
        if name in item.probes:
            host, _ = parse_host(item.probes[name], node=name)
            yield replace(
                given,
                evidence=read_evidence(name, item.probes[name], host),
                cluster=item.cluster,
                before=item.before,
                young=item.young,
                may_differ=item.may_differ,
                came_and_went=item.came_and_went,
                plain=PlainEndpoints(item.cluster),
            )


def settings_of(snapshot: Snapshot) -> Facts:
    """Every address setting in the snapshot, with its source."""
    cluster, _ = read_cluster(snapshot)
    hosts = {name: parse_host(probes, node=name)[0] for name, probes in snapshot.nodes.items()}
    configs = {
        name: proxy_configs_of_node(name, probes, hosts[name], cluster)[0] for name, probes in snapshot.nodes.items()
    }
    return collect_facts(cluster, hosts, configs, snapshot.api)


def nodes_left_out(snapshot: Snapshot) -> frozenset[str]:
    """The nodes that whoever gathered the snapshot left out on purpose."""
    listed = snapshot.manifest.get("nodes_left_out")
    return frozenset(item for item in listed if isinstance(item, str)) if isinstance(listed, list) else frozenset()


def _one_for_all(gaps: list[Gap], nodes: list[str], reason: str) -> list[Gap]:
    """Without any node, one gap instead of one per node."""
    rest = [gap for gap in gaps if gap.node is None]
    if nodes:
        rest.append(
            Gap(subject="the nodes", reason=f"{len(nodes)} nodes were left out {reason}", kind=GapKind.NOT_ASKED)
        )
    return rest
