"""kube-proxy's iptables mode, 1.16 to 1.37: rules are walked, and the frontends they serve are found in them."""

from __future__ import annotations

from collections.abc import Sequence

from kdiag.model.addresses import Family
from kdiag.model.dataplane import Behaviour, ClientSet, DataPlane, Frontend
from kdiag.model.difference import CauseKind, Condition
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Gap
from kdiag.model.rules import Backend, Ruleset
from kdiag.planes.interface import NodeEvidence, Plane, PlaneReading, ReadingOrder
from kdiag.planes.iptables_conditions import conditions_of, has_base_jump, serves, two_backends
from kdiag.planes.iptables_dispatch import unexpected_frontends
from kdiag.planes.programs import behaviours_of, of_family, walker_of
from kdiag.walk.network import NodeNetwork
from kdiag.walk.walker import Leaf


def _signs(evidence: NodeEvidence) -> tuple[str, ...]:
    found = []
    for ruleset in evidence.rulesets:
        nat = ruleset.tables.get("nat")
        chains = sum(1 for name in nat.chains if name.startswith("KUBE-SVC-")) if nat else 0
        if chains:
            found.append(f"{chains} KUBE-SVC chains in {ruleset.source}")
    return tuple(found)


def _read(evidence: NodeEvidence, order: ReadingOrder) -> PlaneReading:
    behaviours: dict[Frontend, Behaviour] = {}
    conditions: list[Condition] = []
    gaps: list[Gap] = []
    filter_seen = True
    for family, network in order.networks.items():
        mine = {frontend: item for frontend, item in order.expected.behaviours.items() if frontend.family is family}
        candidates = of_family(evidence, family)
        if not candidates:
            if mine:
                gaps.append(
                    Gap(
                        node=evidence.node_name,
                        subject=f"{family} rules",
                        reason=f"no readable {'ip6tables' if family is Family.IPV6 else 'iptables'}-save was recorded",
                    )
                )
            continue
        ruleset, others = choose(candidates)
        if not ruleset.covers_table("nat"):
            gaps.append(Gap(node=evidence.node_name, subject=f"{family} nat table", reason="it was not recorded"))
            continue
        if not ruleset.covers_table("filter"):
            filter_seen = False
            gaps.append(
                Gap(
                    node=evidence.node_name,
                    subject=f"{family} filter table",
                    reason="it was not recorded: refused, dropped and untouched packets look alike",
                )
            )
        split = two_backends(ruleset, others, family, mine)
        if split is not None:
            conditions.append(split)
        conditions += conditions_of(ruleset, mine, order, family)
        if any(item.cause is CauseKind.NEVER_WROTE for item in conditions if item.family is family):
            # Nothing to walk: the condition says all there is to say.
            continue
        targets = {frontend: item.service_port for frontend, item in mine.items() if frontend not in order.known}
        targets.update(unexpected_frontends(ruleset, mine, network, order.node_ports_of(family)))
        behaviours |= behaviours_of(walker_of(evidence, network, (ruleset, *others)), network, targets)
    return PlaneReading(
        data_plane=DataPlane(node=evidence.node_name, behaviours=behaviours),
        conditions=tuple(conditions),
        gaps=tuple(gaps),
        filter_seen=filter_seen,
    )


def _follow(
    evidence: NodeEvidence, network: NodeNetwork, frontend: Frontend, clients: Sequence[ClientSet]
) -> list[Leaf]:
    candidates = of_family(evidence, frontend.family)
    if not candidates:
        return []
    ruleset, others = choose(candidates)
    return walker_of(evidence, network, (ruleset, *others)).walk(frontend, clients)


def choose(rulesets: list[Ruleset]) -> tuple[Ruleset, tuple[Ruleset, ...]]:
    """The rule set that kube-proxy's rules are in, and the others.

    Not the default binary decides but what is there: base jumps first, then Service chains, then nft over legacy.
    """

    def rank(ruleset: Ruleset) -> tuple[bool, bool, bool]:
        return (not has_base_jump(ruleset), not serves(ruleset), ruleset.backend is Backend.LEGACY)

    ordered = sorted(rulesets, key=rank)
    return ordered[0], tuple(ordered[1:])


PLANE = Plane(
    mode=ProxyMode.IPTABLES,
    probes=("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "ip-addr", "ip-route"),
    signs=_signs,
    read=_read,
    follow=_follow,
)
