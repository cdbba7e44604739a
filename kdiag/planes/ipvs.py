"""kube-proxy's IPVS mode: virtual servers, the sets and rules beside them, and the addresses on kube-ipvs0."""

from __future__ import annotations

from collections.abc import Sequence

from kdiag.model.addresses import Family, family_of
from kdiag.model.dataplane import Behaviour, ClientSet, DataPlane, Frontend
from kdiag.model.difference import CauseKind, Condition
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Gap
from kdiag.planes.interface import NodeEvidence, Plane, PlaneReading, ReadingOrder
from kdiag.planes.iptables import choose
from kdiag.planes.programs import behaviours_of, of_family, walker_of
from kdiag.walk.network import IPVS_DEVICE, NodeNetwork
from kdiag.walk.walker import Leaf, Walker


def _signs(evidence: NodeEvidence) -> tuple[str, ...]:
    found = []
    on_device = [item for item in evidence.host.addresses or () if item.interface == IPVS_DEVICE]
    if on_device:
        found.append(f"{len(on_device)} addresses on {IPVS_DEVICE}")
    if evidence.ipvs is not None and evidence.ipvs.servers:
        found.append(f"{len(evidence.ipvs.servers)} virtual servers in {evidence.ipvs.source}")
    return tuple(found)


def _read(evidence: NodeEvidence, order: ReadingOrder) -> PlaneReading:
    # Only where a node is in this mode.
    from kdiag.planes.ipvs_conditions import conditions_of
    from kdiag.planes.ipvs_dispatch import unexpected_frontends

    behaviours: dict[Frontend, Behaviour] = {}
    conditions: list[Condition] = []
    gaps: list[Gap] = []
    for family, network in order.networks.items():
        mine = {frontend: item for frontend, item in order.expected.behaviours.items() if frontend.family is family}
        if not mine and not _has(evidence, family):
            continue
        lacking = _lacking(evidence, family)
        if lacking:
            if mine:
                gaps.append(Gap(node=evidence.node_name, subject=f"{family} virtual servers", reason=lacking))
            continue
        found = conditions_of(evidence, family, mine, order)
        conditions += found
        if any(item.cause is CauseKind.NEVER_WROTE for item in found):
            # Nothing to walk: the condition says all there is to say.
            continue
        targets = {frontend: item.service_port for frontend, item in mine.items()}
        targets.update(unexpected_frontends(evidence, mine, network, order.node_ports_of(family)))
        behaviours |= behaviours_of(_walker(evidence, network), network, targets)
    return PlaneReading(
        data_plane=DataPlane(node=evidence.node_name, behaviours=behaviours),
        conditions=tuple(conditions),
        gaps=tuple(gaps),
    )


def _has(evidence: NodeEvidence, family: Family) -> bool:
    return evidence.ipvs is not None and any(server.family is family for server in evidence.ipvs.servers)


def _lacking(evidence: NodeEvidence, family: Family) -> str | None:
    """What of the evidence is missing without which nothing can be said."""
    if evidence.ipvs is None:
        return "no readable `ipvsadm-save -n` was recorded"
    if evidence.host.addresses is None:
        return "the node's addresses were not recorded, so that those on kube-ipvs0 are not known"
    if not of_family(evidence, family):
        return f"no readable {'ip6tables' if family is Family.IPV6 else 'iptables'}-save was recorded"
    return None


def _walker(evidence: NodeEvidence, network: NodeNetwork) -> Walker:
    ruleset, others = choose(of_family(evidence, network.family))
    return walker_of(evidence, network, (ruleset, *others))


def _follow(
    evidence: NodeEvidence, network: NodeNetwork, frontend: Frontend, clients: Sequence[ClientSet]
) -> list[Leaf]:
    if evidence.ipvs is None or not of_family(evidence, family_of(frontend.address)):
        return []
    return _walker(evidence, network).walk(frontend, clients)


PLANE = Plane(
    mode=ProxyMode.IPVS,
    probes=("ipvsadm-save-n", "proc-net-ip_vs", "ipset-save", "ip-addr", "iptables-save", "ip6tables-save"),
    signs=_signs,
    read=_read,
    follow=_follow,
)
