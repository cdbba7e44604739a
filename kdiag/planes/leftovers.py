"""Rules that another mode of kube-proxy left on a node: only some start-ups clear them away."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from kdiag.model.addresses import Family
from kdiag.model.dataplane import FrontendKind, RuleRef
from kdiag.model.difference import IN_THE_WAY, OUT_OF_THE_WAY, CauseKind, Condition, Symptom
from kdiag.model.proxy import ProxyMode
from kdiag.model.rules import Ruleset
from kdiag.planes.interface import NodeEvidence
from kdiag.planes.iptables_conditions import has_base_jump
from kdiag.planes.iptables_jumps import FROM_WIRE
from kdiag.planes.iptables_lines import reference, rules_of
from kdiag.planes.nftables import table_of
from kdiag.walk.network import IPVS_DEVICE
from kdiag.walk.ownership import IPVS_TABLE, PROXY_PREFIXES


def leftovers(evidence: NodeEvidence, mode: ProxyMode) -> tuple[Condition, ...]:
    """What is there of modes that the node does not run in."""
    found: list[Condition] = []
    for family in Family:
        if mode is not ProxyMode.IPVS:
            found += _of_ipvs(evidence, family)
        if mode is not ProxyMode.IPTABLES:
            for ruleset in evidence.rulesets:
                if ruleset.family is family:
                    found += _of_iptables(ruleset, family)
        if mode is not ProxyMode.NFTABLES:
            found += _of_nftables(evidence, family)
    return tuple(found)


def _of_ipvs(evidence: NodeEvidence, family: Family) -> Iterator[Condition]:
    servers = [server for server in evidence.ipvs.servers if server.family is family] if evidence.ipvs else []
    held = [
        item
        for item in evidence.host.addresses or ()
        if item.interface == IPVS_DEVICE and (item.address.version == 4) is (family is Family.IPV4)
    ]
    if not servers and not held:
        return
    parts = []
    rules = []
    if servers and evidence.ipvs is not None:
        parts.append(f"{len(servers)} virtual servers")
        rules = [
            RuleRef(source=evidence.ipvs.source, line=item.line, text=item.text, table=IPVS_TABLE)
            for item in servers[:1]
        ]
    if held:
        parts.append(f"{len(held)} addresses on {IPVS_DEVICE}")
        source = evidence.host.sources.get("addresses", "ip addr")
        rules.append(RuleRef(source=source, line=0, text=f"{IPVS_DEVICE}: {held[0].address}", table=IPVS_TABLE))
    # iptables rules translate before virtual servers are asked, so that only what they leave alone gets there.
    idle = Condition(
        cause=CauseKind.LEFTOVERS,
        family=family,
        detail=f"{' and '.join(parts)} of IPVS mode",
        expected="nothing of IPVS mode",
        actual=OUT_OF_THE_WAY,
        rules=tuple(rules),
        tables=frozenset({IPVS_TABLE}),
    )
    yield idle
    yield replace(
        idle,
        actual=IN_THE_WAY,
        tables=None,
        positions=FROM_WIRE,
        kinds=frozenset({FrontendKind.CLUSTER_IP}),
        # An address that is the node's own is not forwarded, where the rules are that would refuse it.
        symptoms=frozenset({Symptom.NOT_REFUSED}),
        stands_alone=False,
    )


def _of_iptables(ruleset: Ruleset, family: Family) -> Iterator[Condition]:
    nat = ruleset.tables.get("nat")
    chains = [name for name in nat.chains if name.startswith(PROXY_PREFIXES)] if nat else []
    led_to = [
        rule for rule in rules_of(ruleset, "nat", "KUBE-SERVICES") if (rule.target or "").startswith(PROXY_PREFIXES)
    ]
    if not chains:
        return
    reached = bool(led_to) and has_base_jump(ruleset)
    first = led_to[0] if led_to else None
    yield Condition(
        cause=CauseKind.LEFTOVERS,
        family=family,
        detail=f"{len(chains)} chains of iptables mode in {ruleset.source}",
        expected="no chains of iptables mode",
        actual=IN_THE_WAY if reached else OUT_OF_THE_WAY,
        rules=(reference(ruleset, first),) if first else (),
        symptoms=frozenset(),
    )


def _of_nftables(evidence: NodeEvidence, family: Family) -> Iterator[Condition]:
    table = table_of(evidence, family)
    if table is None or evidence.nft is None or not any(chain.rules for chain in table.chains.values()):
        return
    label = f"{table.family} {table.name}"
    served = table.sets.get("service-ips")
    yield Condition(
        cause=CauseKind.LEFTOVERS,
        family=family,
        detail=f"table {label} of nftables mode",
        expected="no table of nftables mode",
        actual=IN_THE_WAY if served is not None and served.elements else OUT_OF_THE_WAY,
        rules=(RuleRef(source=evidence.nft.source, line=table.line, text=f"table {label}", table=label),),
        symptoms=frozenset(),
    )
