"""kube-proxy's userspace mode (up to 1.25): rules lead every Service address to a port of the proxy process.

Which endpoint it chooses is not in the rules: only that packets reach the process is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from kdiag.model.addresses import Family
from kdiag.model.dataplane import (
    Behaviour,
    Case,
    ClientSet,
    DataPlane,
    Disposition,
    Fate,
    Frontend,
    Outcome,
    RuleRef,
)
from kdiag.model.difference import CauseKind, Condition
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Gap
from kdiag.model.rules import Ruleset
from kdiag.planes.interface import NodeEvidence, Plane, PlaneReading, ReadingOrder
from kdiag.planes.iptables_dispatch import unexpected_frontends
from kdiag.planes.programs import behaviours_of, follow_all, of_family, walker_of
from kdiag.walk.cases import make_outcome
from kdiag.walk.network import NodeNetwork
from kdiag.walk.walker import Leaf

PORTALS = ("KUBE-PORTALS-CONTAINER", "KUBE-PORTALS-HOST")
NODE_PORTS = ("KUBE-NODEPORT-CONTAINER", "KUBE-NODEPORT-HOST")


def _signs(evidence: NodeEvidence) -> tuple[str, ...]:
    return tuple(
        f"chain {name} in {ruleset.source}"
        for ruleset in evidence.rulesets
        for name in PORTALS
        if (chain := ruleset.chain("nat", name)) is not None and chain.rules
    )


def _read(evidence: NodeEvidence, order: ReadingOrder) -> PlaneReading:
    behaviours: dict[Frontend, Behaviour] = {}
    conditions: list[Condition] = []
    gaps: list[Gap] = []
    for family, network in order.networks.items():
        mine = {frontend: item for frontend, item in order.expected.behaviours.items() if frontend.family is family}
        rulesets = of_family(evidence, family)
        if not rulesets or not any(ruleset.covers_table("nat") for ruleset in rulesets):
            if mine:
                reason = f"no readable {'ip6tables' if family is Family.IPV6 else 'iptables'}-save was recorded"
                gaps.append(Gap(node=evidence.node_name, subject=f"{family} rules", reason=reason))
            continue
        ruleset = max(rulesets, key=_rules_in_portals)
        if order.demanded(mine) and not _rules_in_portals(ruleset):
            conditions.append(_never_wrote(ruleset, family))
            continue
        targets = {frontend: item.service_port for frontend, item in mine.items()}
        targets.update(unexpected_frontends(ruleset, mine, network, order.node_ports_of(family)))
        others = [item for item in rulesets if item is not ruleset]
        found = behaviours_of(walker_of(evidence, network, (ruleset, *others)), network, targets)
        behaviours |= {
            frontend: _to_proxy(item, _told(evidence, frontend, network)) for frontend, item in found.items()
        }
    return PlaneReading(
        data_plane=DataPlane(node=evidence.node_name, behaviours=behaviours),
        conditions=tuple(conditions),
        gaps=tuple(gaps),
        filter_seen=all(ruleset.covers_table("filter") for ruleset in evidence.rulesets),
    )


def _rules_in_portals(ruleset: Ruleset) -> int:
    chains = [ruleset.chain("nat", name) for name in (*PORTALS, *NODE_PORTS)]
    return sum(len(chain.rules) for chain in chains if chain is not None)


def _never_wrote(ruleset: Ruleset, family: Family) -> Condition:
    chain = ruleset.chain("nat", PORTALS[0])
    return Condition(
        cause=CauseKind.NEVER_WROTE,
        family=family,
        detail=f"{ruleset.source} has no portal of any Service in its nat table",
        expected="chains KUBE-PORTALS-CONTAINER and KUBE-PORTALS-HOST with a rule for each Service address",
        actual="no such chains" if chain is None else "empty chains",
        rules=(
            RuleRef(
                source=ruleset.source,
                line=chain.line if chain else 0,
                text=f":{PORTALS[0]} -" if chain else f"(no {PORTALS[0]} chain)",
                table="nat",
                chain=PORTALS[0],
            ),
        ),
    )


def _listening(evidence: NodeEvidence) -> frozenset[tuple[str, int]] | None:
    """Ports with a listener, by protocol; None if they were not recorded."""
    sockets = evidence.host.sockets
    return None if sockets is None else frozenset((item.protocol.lower(), item.port) for item in sockets)


Told = Callable[[Fate], Fate]


def _told(evidence: NodeEvidence, frontend: Frontend, network: NodeNetwork) -> Told:
    """Fates with every translation to a port of the node itself told as "to the proxy process"."""
    listening = _listening(evidence)

    def told(fate: Fate) -> Fate:
        if fate.disposition is not Disposition.BACKEND or fate.backend is None:
            return fate
        if fate.backend.address not in network.local:
            return fate
        if listening is not None and (frontend.protocol.lower(), fate.backend.port) not in listening:
            # The port that the rule leads to has no listener: the kernel refuses the connection.
            return Fate(disposition=Disposition.REJECTED)
        return Fate(disposition=Disposition.BACKEND)

    return told


def _to_proxy(behaviour: Behaviour, told: Told) -> Behaviour:
    def outcome(item: Outcome) -> Outcome:
        return make_outcome((told(fate), share) for fate, share in item.shares)

    def case(item: Case) -> Case:
        return replace(
            item,
            outcomes=tuple(dict.fromkeys(outcome(found) for found in item.outcomes)),
            paths={told(fate): passed for fate, passed in item.paths.items()},
        )

    return replace(behaviour, cases=tuple(case(item) for item in behaviour.cases))


def _follow(
    evidence: NodeEvidence, network: NodeNetwork, frontend: Frontend, clients: Sequence[ClientSet]
) -> list[Leaf]:
    if not of_family(evidence, network.family):
        return []
    told = _told(evidence, frontend, network)
    leaves = follow_all(evidence, network, frontend, clients)
    return [replace(leaf, fate=told(leaf.fate)) for leaf in leaves]


PLANE = Plane(
    mode=ProxyMode.USERSPACE, probes=("iptables-save", "ip6tables-save"), signs=_signs, read=_read, follow=_follow
)
