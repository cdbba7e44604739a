"""The nodes of a view: each is read and judged when it is its turn, and what was read is let go before the next one is read.

Whatever only judged nodes need is imported from here, which is a large part of kdiag: a run without nodes does not import this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kdiag.expect.outlook import PlainEndpoints
from kdiag.model.addresses import Network
from kdiag.model.cluster import ClusterState
from kdiag.model.host import HostFacts
from kdiag.model.objects import ObjectKey
from kdiag.model.proxy import ProxyConfig
from kdiag.model.snapshot import Snapshot
from kdiag.parse.host import parse_host
from kdiag.parse.iptables_parts import CutDump
from kdiag.pipeline.evidence import read_evidence
from kdiag.pipeline.keeping import for_checks, without_ways
from kdiag.pipeline.nodes import NodeInput, NodeResult, examine_node
from kdiag.pipeline.proxy_wanted import asks_rules
from kdiag.pipeline.rounds import LaterRound
from kdiag.pipeline.settling import (
    changes_since,
    followed_until,
    may_differ,
    moved_between,
    read_at,
    services_may_have_passed,
)
from kdiag.planes.detection import config_from_rules
from kdiag.planes.interface import NodeEvidence


class ToExamine(Struct, frozen=True, kw_only=True):
    """The nodes to judge, and what was read before. `before` and `cluster` are the API before and after the nodes were read;
    `hosts`, `configs` and `effective`, which is what proxies run with, are by the name of the node. Of the nodes `told`, a gap
    says why they could not be read. `only`, `settle_s`, `every_port` and `in_detail` are those of `build_view`."""

    snapshot: Snapshot
    nodes: Collection[str]
    before: ClusterState
    cluster: ClusterState
    rounds: Sequence[LaterRound]
    hosts: Mapping[str, HostFacts]
    configs: Mapping[str, tuple[ProxyConfig, ...]]
    effective: Mapping[str, ProxyConfig | None]
    cluster_config: ProxyConfig | None
    service_ranges: tuple[Network, ...]
    told: Collection[str | None]
    only: Collection[ObjectKey] | None
    settle_s: float
    every_port: bool
    in_detail: bool


def examiner(given: ToExamine) -> Callable[[str], NodeResult]:
    """What judges one of the nodes, by its name."""
    before, cluster, hosts, effective = given.before, given.cluster, given.hosts, given.effective
    in_part = given.only is not None
    # Dumps that are cut in part have nothing to compare.
    first_cuts: dict[str, CutDump] | None = {} if len(given.nodes) > 1 and not in_part else None

    rules_decide = any(asks_rules(effective[name], given.cluster_config) for name in given.nodes)

    def evidence_of(name: str) -> NodeEvidence:
        return read_evidence(
            name,
            given.snapshot.nodes[name],
            hosts[name],
            cut=not given.every_port,
            in_part=in_part,
            counted=rules_decide,
            like=first_cuts,
        )

    # The rules of a node may take a gigabyte of memory: they are read when it is its turn, unless those of all have to be
    # known before.
    kept: dict[str, NodeEvidence] = {}
    from_rules: ProxyConfig | None = None
    if rules_decide:
        kept = {name: evidence_of(name) for name in given.nodes}
        from_rules = config_from_rules([ruleset for item in kept.values() for ruleset in item.rulesets])
    plain = PlainEndpoints(cluster)
    alike = None
    if first_cuts is not None:
        from kdiag.pipeline.likeness import AlikeNodes

        alike = AlikeNodes()
    two_readings = before is not cluster
    followed = {
        name: followed_until(read_at(hosts[name], given.snapshot.taken_at, two_readings=two_readings), given.settle_s)
        for name in given.nodes
    }
    changes = changes_since(cluster, min([moment for moment in followed.values() if moment is not None], default=None))
    moved = moved_between(before, cluster)
    # Where few Services are asked about, nothing is told without a walk.
    unlike = may_differ(before, cluster) if not in_part else frozenset()
    came_and_went = services_may_have_passed(before, cluster)

    def examine(name: str) -> NodeResult:
        # What is read here is let go before the next node's is read.
        since = followed[name]
        young = frozenset([key for key, at in changes.items() if since is not None and at > since])
        if not two_readings and len(young) * 2 > len(cluster.services):
            # A cluster of which most is young was built or restored just before, and read when that was done.
            young = frozenset()
        young |= moved
        evidence = kept.pop(name) if name in kept else evidence_of(name)
        node = NodeInput(
            evidence=evidence,
            cluster=cluster,
            before=before,
            configs=given.configs[name],
            config=effective[name],
            cluster_config=given.cluster_config,
            from_rules=from_rules,
            service_ranges=given.service_ranges,
            plain=plain,
            alike=alike,
            only=given.only,
            young=young,
            may_differ=unlike,
            # Which Services went together with what changed lately nothing tells but an earlier reading.
            outrun=bool(young) and not two_readings,
            came_and_went=came_and_went,
            in_detail=given.in_detail,
        )
        found = examine_node(replace(node, later=tuple(_read_again(node, given.rounds))))
        found = replace(found, view=without_ways(found.view) if given.in_detail else for_checks(found.view, evidence))
        # Without any rules, all that is missing of them has the reason that is said already.
        if name in given.told and not evidence.rulesets:
            return replace(found, gaps=tuple(gap for gap in found.gaps if not gap.subject.endswith("rules")))
        return found

    return examine


def _read_again(given: NodeInput, rounds: Sequence[LaterRound]) -> Iterator[NodeInput]:
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
