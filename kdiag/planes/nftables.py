"""kube-proxy's nftables mode, 1.29 (alpha) to 1.37: table `kube-proxy` of families ip and ip6, walked like all rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdiag.model.addresses import Family
from kdiag.model.dataplane import Behaviour, ClientSet, DataPlane, Frontend
from kdiag.model.difference import CauseKind, Condition
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Gap
from kdiag.planes.interface import NodeEvidence, Plane, PlaneReading, ReadingOrder
from kdiag.planes.programs import behaviours_of, follow_all, of_family, walker_of
from kdiag.walk.network import NodeNetwork
from kdiag.walk.ownership import NFT_FAMILIES, NFT_TABLE
from kdiag.walk.walker import Leaf

if TYPE_CHECKING:
    from kdiag.model.nft import NftTable


def table_of(evidence: NodeEvidence, family: Family) -> NftTable | None:
    """kube-proxy's table of one family."""
    return evidence.nft.table(NFT_FAMILIES[family], NFT_TABLE) if evidence.nft else None


def _signs(evidence: NodeEvidence) -> tuple[str, ...]:
    return tuple(
        f"table {table.family} {table.name} in {evidence.nft.source}"
        for family in Family
        if evidence.nft is not None and (table := table_of(evidence, family)) is not None and table.chains
    )


def _read(evidence: NodeEvidence, order: ReadingOrder) -> PlaneReading:
    # Only where a node is in this mode: the model of what nft prints is a large one.
    from kdiag.planes.nft_conditions import conditions_of
    from kdiag.planes.nft_dispatch import unexpected_frontends

    behaviours: dict[Frontend, Behaviour] = {}
    conditions: list[Condition] = []
    gaps: list[Gap] = []
    for family, network in order.networks.items():
        mine = {frontend: item for frontend, item in order.expected.behaviours.items() if frontend.family is family}
        if evidence.nft is None:
            if mine and not any(gap.subject.startswith("nodes/") for gap in evidence.gaps):
                reason = "no readable `nft list ruleset` was recorded"
                gaps.append(Gap(node=evidence.node_name, subject=f"{family} rules", reason=reason))
            continue
        found = conditions_of(evidence.nft, family, mine, order)
        conditions += found
        if any(item.cause is CauseKind.NEVER_WROTE for item in found):
            # Nothing to walk: the condition says all there is to say.
            continue
        table = table_of(evidence, family)
        targets = {frontend: item.service_port for frontend, item in mine.items()}
        if table is not None:
            targets.update(unexpected_frontends(table, mine, network, order.node_ports_of(family)))
        walker = walker_of(evidence, network, of_family(evidence, family))
        behaviours |= behaviours_of(walker, network, targets)
    return PlaneReading(
        data_plane=DataPlane(node=evidence.node_name, behaviours=behaviours),
        conditions=tuple(conditions),
        gaps=tuple(gaps),
    )


def _follow(
    evidence: NodeEvidence, network: NodeNetwork, frontend: Frontend, clients: Sequence[ClientSet]
) -> list[Leaf]:
    return follow_all(evidence, network, frontend, clients) if evidence.nft is not None else []


PLANE = Plane(
    mode=ProxyMode.NFTABLES,
    probes=("nft-j-list-ruleset", "nft-list-ruleset", "iptables-save", "ip6tables-save", "ip-addr", "ip-route"),
    signs=_signs,
    read=_read,
    follow=_follow,
)
