"""One node: its evidence read, its two data planes made and compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from kdiag.compare import compare
from kdiag.expect.dataplane import NodeContext, Spot, detector_of, expected_data_plane
from kdiag.expect.outlook import PlainEndpoints
from kdiag.gather.no_login import no_login_reason
from kdiag.model.addresses import Address, Family, Network
from kdiag.model.cluster import ClusterState
from kdiag.model.dataplane import Behaviour, DataPlane, Frontend, FrontendKind
from kdiag.model.difference import Comparison, Condition
from kdiag.model.host import HostFacts
from kdiag.model.objects import ObjectKey
from kdiag.model.proxy import ProxyConfig, ProxyMode, Version, parse_version
from kdiag.model.report import Gap, GapKind
from kdiag.model.rules import Ruleset
from kdiag.model.view import NodeView
from kdiag.parse.proxy_config import proxy_pod, proxy_version
from kdiag.pipeline.node_gaps import cached_gaps, contradiction_gaps, unclear_gaps
from kdiag.pipeline.offers import SortedOffers
from kdiag.pipeline.outdated import out_of_date
from kdiag.pipeline.proxy_wanted import wanted_config
from kdiag.pipeline.rounds import is_unsettled, join_rounds
from kdiag.pipeline.trust import Trust, trust_in
from kdiag.pipeline.twins import narrowed, sort_offers, suspects, twin_frontends
from kdiag.planes.detection import assumed_release, plane_of
from kdiag.planes.interface import NodeEvidence, Plane, ReadingOrder
from kdiag.planes.leftovers import leftovers
from kdiag.planes.replacements import replacement_of
from kdiag.walk.network import NodeNetwork, node_network

if TYPE_CHECKING:
    from kdiag.model.nft import NftRuleset
    from kdiag.pipeline.likeness import AlikeNodes


class NodeInput(Struct, frozen=True, kw_only=True):
    """All that is needed to judge one node. `config` is what its proxy runs with, `cluster_config` what it ought to."""

    evidence: NodeEvidence
    cluster: ClusterState
    before: ClusterState
    configs: tuple[ProxyConfig, ...]
    config: ProxyConfig | None
    cluster_config: ProxyConfig | None
    from_rules: ProxyConfig | None
    service_ranges: tuple[Network, ...]
    young: frozenset[ObjectKey] = frozenset()
    may_differ: frozenset[ObjectKey] = frozenset()
    """Services of which the two readings of the API may say different things."""
    outrun: bool = False
    """True if the API changed after the node was read."""
    came_and_went: bool = False
    """True if Services may have been made and deleted between the two readings of the API."""
    in_detail: bool = False
    """True if the ways of what is wrong are looked at later: then it is walked."""
    plain: PlainEndpoints | None = None
    alike: AlikeNodes | None = None
    """What is known of nodes that were judged before."""
    only: Collection[ObjectKey] | None = None
    """The Services that are asked about, None: all. Where much is to be read, the others are left out."""
    later: tuple[NodeInput, ...] = ()
    """The same node read again later, oldest first, for what is not settled the first time."""


class _Judged(Struct, frozen=True, kw_only=True):
    """One reading of a node compared with one reading of the API on either side. `refusal` says why nothing was."""

    refusal: str | None = None
    expected: DataPlane | None = None
    actual: DataPlane | None = None
    comparison: Comparison | None = None
    conditions: tuple[Condition, ...] = ()
    gaps: tuple[Gap, ...] = ()
    rulesets: tuple[Ruleset, ...] = ()
    nft: NftRuleset | None = None
    """What was walked of the evidence's."""
    twins: frozenset[ObjectKey] = frozenset()
    known: frozenset[Frontend] = frozenset()
    """What is expected and was not walked, being of a kind that is right on another node."""
    unlike: Mapping[Family, Collection[Spot]] = {}
    """What was walked, and is not to be gone by for what is out of date (see `OutOfDate`)."""


class NodeResult(Struct, frozen=True, kw_only=True):
    """A node's view, and what could not be seen on it."""

    view: NodeView
    gaps: tuple[Gap, ...]


def examine_node(given: NodeInput) -> NodeResult:
    """Judge one recorded node."""
    evidence, cluster = given.evidence, given.cluster
    name = evidence.node_name
    node = cluster.node_by_name.get(name)
    gaps = list(evidence.gaps)
    version, version_source = proxy_version(name, evidence.host, cluster)
    if version is None:
        version = assumed_release(parse_version(cluster.server_version), evidence.rulesets)
        version_source = "the API server's release and the names of the chains (assumed)"
    view = NodeView(
        name=name,
        node=node,
        host=evidence.host,
        proxy_pod=proxy_pod(name, cluster),
        config=given.config,
        configs=given.configs,
        version=version,
        version_source=version_source,
        rulesets=evidence.rulesets,
        ipsets=evidence.ipsets,
        nft=evidence.nft,
        ipvs=evidence.ipvs,
    )
    unlike = no_login_reason(node) if node is not None else None
    if unlike is not None:
        gaps.append(Gap(node=name, subject="rules", reason=unlike, kind=GapKind.NOT_APPLICABLE))
        return NodeResult(view=view, gaps=tuple(gaps))
    replacement = replacement_of(cluster, evidence)
    if replacement is not None:
        whole = narrowed(evidence, ())
        view = replace(view, rulesets=whole.rulesets, nft=whole.nft)
        gaps.append(Gap(node=name, subject="rules", reason=replacement.reason, kind=GapKind.NOT_APPLICABLE))
        return NodeResult(view=replace(view, other_proxy=replacement.product), gaps=tuple(gaps))
    plane = plane_of(evidence, given.config)
    if plane is None:
        if not evidence.rulesets:
            gaps.append(Gap(node=name, subject="rules", reason="no rules were recorded on this node"))
            return NodeResult(view=view, gaps=tuple(gaps))
        gaps.append(Gap(node=name, subject="rules", reason="nothing shows which proxy this node runs"))
        return NodeResult(view=view, gaps=tuple(gaps))
    view = replace(view, mode=plane.mode)
    if plane.read is None:
        gaps.append(Gap(node=name, subject="rules", reason=f"{plane.mode} mode: not read yet"))
        return NodeResult(view=view, gaps=tuple(gaps))
    judged = _judge(given, version, plane)
    gaps += judged.gaps
    if judged.refusal is not None or judged.comparison is None:
        gaps.append(Gap(node=name, subject="rules", reason=judged.refusal or "nothing could be compared"))
        return NodeResult(view=view, gaps=tuple(gaps))
    comparison = judged.comparison
    if given.later and is_unsettled(comparison):
        later = [_judge(item, version, plane).comparison for item in given.later]
        comparison = join_rounds(comparison, [item for item in later if item is not None], judged.conditions)
    gaps += unclear_gaps(comparison)
    return NodeResult(
        view=replace(
            view,
            rulesets=judged.rulesets,
            nft=judged.nft,
            expected=judged.expected,
            actual=judged.actual,
            comparison=comparison,
            twins=judged.twins,
        ),
        gaps=tuple(gaps),
    )


def _judge(given: NodeInput, version: Version | None, plane: Plane) -> _Judged:
    """Compare what one reading of the node shows with what the API asks for."""
    evidence, cluster = given.evidence, given.cluster
    trust = trust_in(cluster, given.before, version=version)
    if trust.refusal is not None or plane.read is None:
        return _Judged(refusal=trust.refusal or f"{plane.mode} mode: not read yet")
    context = node_context(given, version, plane.mode)
    cut_up = {ProxyMode.IPTABLES: bool(evidence.cuts), ProxyMode.NFTABLES: evidence.nft_cut is not None}
    if not cut_up.get(plane.mode, False):
        return _compare(given, context, plane, trust, narrowed(evidence, ()), ())
    cached = _node_local_addresses(evidence.host)
    families = sort_offers(
        evidence,
        cluster,
        context,
        given.plain or PlainEndpoints(cluster),
        doubtful=trust.doubtful,
        alone={item.key for item in cluster.services if cached.intersection(item.cluster_ips)} if cached else (),
        moving=cluster.service_by_key.keys() if given.in_detail else given.may_differ,
        only=given.only,
        alike=given.alike,
    )
    while True:
        judged = _compare(given, context, plane, trust, narrowed(evidence, families), families)
        if judged.comparison is None or judged.expected is None or judged.actual is None:
            return judged
        said = suspects(judged.comparison, judged.expected, judged.actual, judged.known)
        # The first of a kind is not right: what is wrong with it may not be wrong with all.
        parted = [offers.part(said[offers.family], judged.unlike.get(offers.family, ())) for offers in families]
        if not any(parted):
            if given.alike is not None:
                for offers in families:
                    offers.remember(judged.actual, said[offers.family])
            return judged


def _compare(
    given: NodeInput,
    context: NodeContext,
    plane: Plane,
    trust: Trust,
    evidence: NodeEvidence,
    families: Sequence[SortedOffers],
) -> _Judged:
    """Walk what is to be walked, and compare it with what ought to be there."""
    cluster = given.cluster
    if plane.read is None:
        return _Judged(refusal=f"{plane.mode} mode: not read yet")
    without = {offers.family: offers.unwalked() for offers in families}
    cached = _node_local_addresses(evidence.host)
    known = {
        frontend: behaviour
        for offers in families
        for frontend, behaviour in offers.known_behaviours(context.networks[offers.family])
    }
    whole = _joined(expected_data_plane(cluster, context, without), known)
    expected = trust.expectation(_without(whole, cached))
    earlier = None
    if given.before is not cluster:
        # Services may have had other addresses then.
        spots = {family: replace(left_out, services=frozenset()) for family, left_out in without.items()}
        earlier = _without(expected_data_plane(given.before, context, spots), cached)
    reading = plane.read(
        evidence,
        ReadingOrder(
            expected=expected,
            networks=context.networks,
            version=context.version,
            local_ranges=_local_ranges(context),
            node_ports=(given.plain or PlainEndpoints(cluster)).node_ports,
            settled=_settled(expected, earlier, given.young),
            known=frozenset(known),
        ),
    )
    conditions = (*reading.conditions, *leftovers(evidence, plane.mode))
    late = out_of_date(families, context, evidence.rulesets, reading.data_plane)
    actual = _joined(reading.data_plane, late.actual)
    expected = _joined(expected, late.expected)
    if earlier is not None:
        # Nothing is told as out of date that both readings do not have alike.
        earlier = _joined(earlier, late.expected)
    comparison = compare(
        expected,
        trust.reality(_without(actual, cached), expected),
        earlier=earlier,
        conditions=conditions,
        label_of=cluster.port_label,
        filter_seen=reading.filter_seen,
        young=given.young,
        outrun=given.outrun,
        came_and_went=given.came_and_went,
    )
    return _Judged(
        expected=expected,
        actual=actual,
        comparison=replace(comparison, judged=comparison.judged + twin_frontends(families, actual)),
        conditions=conditions,
        gaps=(*cached_gaps(whole, cached), *reading.gaps, *contradiction_gaps(expected)),
        rulesets=evidence.rulesets,
        nft=evidence.nft,
        twins=frozenset().union(*[without[offers.family].services for offers in families if not offers.in_part]),
        known=frozenset(known),
        unlike=late.unlike,
    )


def _joined(plane: DataPlane, behaviours: Mapping[Frontend, Behaviour]) -> DataPlane:
    return DataPlane(node=plane.node, behaviours={**plane.behaviours, **behaviours})


def _settled(expected: DataPlane, earlier: DataPlane | None, young: frozenset[ObjectKey]) -> frozenset[Frontend] | None:
    """The frontends that the proxy has had the time to write; None if there is nothing that it may lag behind."""
    if earlier is None and not young:
        return None
    return frozenset(
        frontend
        for frontend, item in expected.behaviours.items()
        if not (item.service_port and item.service_port.service in young)
        and (earlier is None or (frontend in earlier.behaviours and earlier.behaviours[frontend].cases == item.cases))
    )


def node_context(given: NodeInput, version: Version | None, mode: ProxyMode) -> NodeContext:
    """What expectation needs to know of the node: its network per family, and the configuration it ought to have."""
    name = given.evidence.node_name
    node = given.cluster.node_by_name.get(name)
    pods = given.cluster.pods_by_node.get(name, ())
    networks: dict[Family, NodeNetwork] = {}
    for family in Family:
        network = node_network(family, given.evidence.host, node, pods, given.service_ranges)
        if network.own:
            networks[family] = network
    return NodeContext(
        node_name=name,
        node=node,
        host=given.evidence.host,
        config=wanted_config(given.config, given.cluster_config, given.from_rules),
        version=version,
        networks=networks,
        mode=mode,
    )


def _local_ranges(context: NodeContext) -> dict[Family, Network]:
    found = {}
    for family in context.networks:
        network = detector_of(family, context).network
        if network is not None:
            found[family] = network
    return found


def _node_local_addresses(host: HostFacts) -> frozenset[Address]:
    """The ClusterIPs that a node-local DNS cache answers for: its interface has them."""
    return frozenset(item.address for item in host.addresses or () if item.interface.startswith("nodelocaldns"))


def _without(plane: DataPlane, addresses: frozenset[Address]) -> DataPlane:
    """A data plane without the ClusterIPs that somebody else answers for."""
    if not addresses:
        return plane
    return DataPlane(
        node=plane.node,
        behaviours={
            frontend: item
            for frontend, item in plane.behaviours.items()
            if frontend.kind is not FrontendKind.CLUSTER_IP or frontend.address not in addresses
        },
    )
