"""From a snapshot to the view that checks look at."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from kdiag.gather.no_login import no_login_reason
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
from kdiag.parse.proxy_config import (
    cluster_config_map,
    cluster_proxy_config,
    effective_config,
    proxy_configs_of_node,
    proxy_pod,
)
from kdiag.pipeline.trust import endpoints_are_sound

if TYPE_CHECKING:
    from kdiag.pipeline.nodes import NodeResult
    from kdiag.pipeline.rounds import LaterRound


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

    rounds: tuple[LaterRound, ...] = ()
    if snapshot.again:
        from kdiag.pipeline.rounds import later_rounds

        rounds, round_gaps = later_rounds(snapshot, settle_s)
        gaps += round_gaps
    told = {gap.node for gap in snapshot.gaps if gap.kind is not GapKind.NOT_ASKED}
    left_out = nodes_left_out(snapshot)
    examined = dict.fromkeys(name for name in recorded if not nodes or name in nodes)
    examine: Callable[[str], NodeResult] | None = None
    if examined:
        # What judges nodes is a large part of kdiag, and takes as long to import as a small cluster to read.
        from kdiag.pipeline.examining import ToExamine, examiner

        examine = examiner(
            ToExamine(
                snapshot=snapshot,
                nodes=examined,
                before=before,
                cluster=cluster,
                rounds=rounds,
                hosts=hosts,
                configs=configs,
                effective=effective,
                cluster_config=cluster_config,
                service_ranges=facts.networks(FactKind.SERVICE_RANGE),
                told=told,
                only=asked_about,
                settle_s=settle_s,
                every_port=every_port,
                in_detail=in_detail,
            )
        )

    views: list[NodeView] = []
    for name in known:
        if examine is not None and name in examined:
            found = examine(name)
            views.append(found.view)
            gaps += found.gaps
            continue
        asked = not without_nodes and (not nodes or name in nodes) and name not in left_out
        view, gap = _unexamined(name, cluster, configs[name], effective[name], asked=asked)
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


def _unexamined(
    node_name: str,
    cluster: ClusterState,
    configs: tuple[ProxyConfig, ...],
    config: ProxyConfig | None,
    *,
    asked: bool,
) -> tuple[NodeView, Gap]:
    """A node of which nothing was recorded, or that the user left out."""
    node = cluster.node_by_name.get(node_name)
    reason = no_login_reason(node) if node is not None else None
    if not asked:
        gap = Gap(node=node_name, subject="rules", reason="the node was left out", kind=GapKind.NOT_ASKED)
    elif reason is not None:
        gap = Gap(node=node_name, subject="rules", reason=reason, kind=GapKind.NOT_APPLICABLE)
    else:
        state = "" if node is None or node.ready else ", which is not Ready"
        gap = Gap(node=node_name, subject="rules", reason=f"nothing was recorded from this node{state}")
    view = NodeView(
        name=node_name,
        recorded=False,
        node=node,
        proxy_pod=proxy_pod(node_name, cluster),
        configs=configs,
        config=config,
    )
    return view, gap


def settings_of(snapshot: Snapshot) -> Facts:
    """Every address setting in the snapshot, with its source."""
    recordings = {**snapshot.api, **snapshot.api_after}
    # Endpoints state no settings, and are most of what the API lists.
    cluster, _ = parse_cluster({name: item for name, item in recordings.items() if not name.startswith("endpoint")})
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
