"""Structural faults of IPVS mode that are seen before any packet is followed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kdiag.model.addresses import Address, Family
from kdiag.model.dataplane import Behaviour, Frontend, FrontendKind, Position, RuleRef
from kdiag.model.difference import CauseKind, Condition, Symptom
from kdiag.model.rules import Ruleset
from kdiag.planes.interface import NodeEvidence, ReadingOrder, sends_on
from kdiag.planes.iptables import choose
from kdiag.planes.iptables_conditions import has_base_jump, local_detection, masquerading
from kdiag.planes.iptables_jumps import FROM_WIRE, MASKED, NOT_SENT_ON
from kdiag.planes.iptables_lines import chain_reference, rules_of
from kdiag.planes.programs import of_family
from kdiag.walk.network import IPVS_DEVICE

CONNTRACK = "net.ipv4.vs.conntrack"
# All but one in so many of the addresses that ought to be there: then it is not a fault of single Services.
MOST = 2
# So many members that a set lacks are named.
NAMED = 3


def conditions_of(
    evidence: NodeEvidence, family: Family, expected: Mapping[Frontend, Behaviour], order: ReadingOrder
) -> tuple[Condition, ...]:
    """Every structural fault of one family, the one that explains most first."""
    table = evidence.ipvs
    if not expected or table is None:
        return ()
    ruleset, _ = choose(of_family(evidence, family))
    servers = [server for server in table.servers if server.family is family]
    on_device = {item.address for item in evidence.host.addresses or () if item.interface == IPVS_DEVICE}
    demanded = order.demanded(expected)
    if not servers:
        if not demanded:
            return ()
        return (_no_servers(evidence, family, table.source, touched=bool(on_device) or has_base_jump(ruleset)),)
    return (
        *_no_addresses(evidence, family, demanded, on_device),
        *_base_jumps(evidence, family),
        *_untracked(evidence, family),
        *_flushed_sets(evidence, family, demanded),
        *masquerading(ruleset, family),
        *local_detection(ruleset, order, family),
    )


def _no_servers(evidence: NodeEvidence, family: Family, source: str, *, touched: bool) -> Condition:
    rule = RuleRef(source=source, line=0, text="(no virtual server)", table="ipvs")
    if not touched:
        return Condition(
            cause=CauseKind.NEVER_WROTE,
            family=family,
            detail=f"{source} has no virtual server, {IPVS_DEVICE} no address and the nat table no chain of kube-proxy",
            expected="a virtual server for each Service address",
            actual="none of them",
            rules=(rule,),
        )
    return Condition(
        cause=CauseKind.FLUSHED,
        family=family,
        detail=f"{source} has no {family} virtual server",
        expected="a virtual server for each Service address",
        actual="none",
        rules=(rule,),
        symptoms=NOT_SENT_ON | {Symptom.MISSING_ENDPOINT, Symptom.NOT_REFUSED} | MASKED,
    )


def _no_addresses(
    evidence: NodeEvidence, family: Family, expected: Mapping[Frontend, Behaviour], on_device: set[Address]
) -> Iterator[Condition]:
    wanted = {frontend.address for frontend in expected if frontend.kind is not FrontendKind.NODE_PORT}
    held = {item.address for item in evidence.host.addresses or ()}
    missing = wanted - held
    if len(missing) < MOST or len(missing) * MOST < len(wanted):
        return
    yield Condition(
        cause=CauseKind.FLUSHED,
        family=family,
        detail=f"{len(missing)} of {len(wanted)} Service addresses are not on {IPVS_DEVICE}",
        expected=f"every Service address on {IPVS_DEVICE}",
        actual=f"{len(wanted) - len(missing)} of them",
        rules=(RuleRef(source=_address_source(evidence), line=0, text=f"({IPVS_DEVICE})", table="ipvs"),),
        positions=FROM_WIRE,
        kinds=frozenset(FrontendKind) - {FrontendKind.NODE_PORT},
        symptoms=NOT_SENT_ON | {Symptom.NOT_REFUSED},
    )


def _address_source(evidence: NodeEvidence) -> str:
    return evidence.host.sources.get("addresses", "ip addr")


def _base_jumps(evidence: NodeEvidence, family: Family) -> Iterator[Condition]:
    ruleset, _ = choose(of_family(evidence, family))
    for hook, positions in (("PREROUTING", FROM_WIRE), ("OUTPUT", frozenset({Position.NODE}))):
        if any(rule.target == "KUBE-SERVICES" for rule in rules_of(ruleset, "nat", hook)):
            continue
        yield Condition(
            cause=CauseKind.BASE_JUMP,
            family=family,
            detail=f"chain {hook} of table nat has no jump to KUBE-SERVICES: nothing is marked for masquerade there",
            expected=f"nat {hook}: -j KUBE-SERVICES",
            actual="no such rule",
            rules=_declared(ruleset, hook),
            positions=positions,
            symptoms=MASKED,
        )
    if not any(rule.target == "KUBE-POSTROUTING" for rule in rules_of(ruleset, "nat", "POSTROUTING")):
        yield Condition(
            cause=CauseKind.BASE_JUMP,
            family=family,
            detail="chain POSTROUTING of table nat has no jump to KUBE-POSTROUTING: nothing is masqueraded",
            expected="nat POSTROUTING: -j KUBE-POSTROUTING",
            actual="no such rule",
            rules=_declared(ruleset, "POSTROUTING"),
            symptoms=MASKED,
        )


def _declared(ruleset: Ruleset, name: str) -> tuple[RuleRef, ...]:
    chain = ruleset.chain("nat", name)
    return () if chain is None else (chain_reference(ruleset, "nat", chain),)


def _untracked(evidence: NodeEvidence, family: Family) -> Iterator[Condition]:
    """Without this sysctl virtual servers take their packets out of connection tracking (ip_vs_notrack)."""
    if evidence.host.sysctls.get(CONNTRACK) != "0":
        return
    yield Condition(
        cause=CauseKind.MASQUERADE_RULE,
        family=family,
        detail=f"{CONNTRACK} is 0: the nat table never sees what virtual servers send on",
        expected=f"{CONNTRACK} = 1",
        actual=f"{CONNTRACK} = 0",
        rules=(RuleRef(source=_sysctl_source(evidence), line=0, text=f"{CONNTRACK} = 0"),),
        symptoms=MASKED,
    )


def _sysctl_source(evidence: NodeEvidence) -> str:
    """The recording that shows the setting; several may hold sysctls."""
    wanted = (CONNTRACK.encode(), CONNTRACK.replace(".", "/").encode())
    for probe, recording in sorted(evidence.probes.items()):
        if probe.startswith("sysctl") and any(name in recording.content for name in wanted):
            return recording.source
    return evidence.host.sources.get("sysctls", "sysctl")


def _flushed_sets(
    evidence: NodeEvidence, family: Family, expected: Mapping[Frontend, Behaviour]
) -> Iterator[Condition]:
    """Sets that ought to name every address of a kind and name none, or not all."""
    servers = evidence.ipvs.servers if evidence.ipvs else ()
    served = {(server.address, server.protocol, server.port) for server in servers}
    for name, kind in (
        ("CLUSTER-IP", FrontendKind.CLUSTER_IP),
        ("LOAD-BALANCER", FrontendKind.LOAD_BALANCER_IP),
    ):
        wanted = [frontend for frontend in expected if frontend.kind is kind and sends_on(expected[frontend])]
        full_name = f"KUBE-{'6-' if family is Family.IPV6 else ''}{name}"
        found = (evidence.ipsets or {}).get(full_name)
        if not wanted or found is None:
            continue
        lacking = {
            frontend: _member(frontend)
            for frontend in wanted
            if _member(frontend) not in found.members
            # Without a virtual server it is not the set that the Service lacks.
            and (not found.members or (frontend.address, frontend.protocol, frontend.port) in served)
        }
        if not lacking:
            continue
        texts = sorted(set(lacking.values()))
        recording = evidence.probes.get("ipset-save")
        yield Condition(
            cause=CauseKind.FLUSHED,
            family=family,
            detail=f"ipset {full_name} lacks {', '.join(texts[:NAMED])}{' …' if len(texts) > NAMED else ''}"
            if found.members
            else f"ipset {full_name} is empty",
            expected=f"ipset {full_name} with every {kind} and port",
            actual=f"{len(texts)} of them missing" if found.members else "no members",
            rules=(
                RuleRef(
                    source=recording.source if recording else "ipset save",
                    line=0,
                    text=f"create {full_name} {found.type}",
                    table="ipset",
                    chain=full_name,
                ),
            ),
            kinds=frozenset({kind}),
            symptoms=NOT_SENT_ON | MASKED,
            frontends=frozenset(lacking) if found.members else None,
            stands_alone=not found.members,
        )


def _member(frontend: Frontend) -> str:
    """`10.96.0.1,tcp:443`, as `ipset save` prints it."""
    return f"{frontend.address},{frontend.protocol.lower()}:{frontend.port}"
