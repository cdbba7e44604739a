"""Outcomes, behaviours and walked packets for tests of the comparison, in few words."""

from __future__ import annotations

from msgspec.structs import replace

from kdiag.compare.outcomes import OutcomeComparer
from kdiag.model.addresses import AddressSet, Family, Protocol, SocketAddress
from kdiag.model.dataplane import (
    Behaviour,
    Case,
    ClientSet,
    DataPlane,
    Disposition,
    Fate,
    Frontend,
    FrontendKind,
    Masquerade,
    Outcome,
    Passed,
    Position,
    RuleRef,
    ServicePortKey,
)
from kdiag.model.difference import Difference, Symptom
from kdiag.model.rules import Chain, Rule, Ruleset
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.walk.iptables_rules import IptablesSpace
from tests.checks import builders as b

DISPOSITIONS = {
    "reject": Disposition.REJECTED,
    "drop": Disposition.DROPPED,
    "pass": Disposition.UNTRANSLATED,
    "unknown": Disposition.UNKNOWN,
}


def backend(text: str) -> SocketAddress:
    """`1` is 10.244.1.1:80, `1:81` another port of it."""
    last, _, port = text.partition(":")
    return SocketAddress(b.address(f"10.244.1.{last}"), int(port or 80))


def fate(text: str) -> Fate:
    """`1` or `1:81` a backend, `reject`, `drop`, `pass`, `unknown`; `+m`, `+o` masquerade; `~600` affinity.

    `reject@1` is a packet that was translated to 1 and then rejected.
    """
    text, _, affinity = text.partition("~")
    text, _, mark = text.partition("+")
    words, _, translated = text.partition("@")
    refused = DISPOSITIONS.get(words)
    to = translated if refused else words
    return Fate(
        disposition=refused or Disposition.BACKEND,
        backend=backend(to) if to else None,
        masquerade={"": Masquerade.NO, "m": Masquerade.PROXY, "o": Masquerade.OTHER}[mark],
        affinity_s=int(affinity) if affinity else None,
    )


def outcome(*texts: str) -> Outcome:
    """Fates as `fate` reads them, with an optional share after `=`; even shares otherwise."""
    shares = []
    for text in texts:
        plain, _, share = text.partition("=")
        shares.append((fate(plain), float(share) if share else 1 / len(texts)))
    return Outcome(shares=tuple(shares))


def agree(actual: Outcome, legal: Outcome, *, filter_seen: bool = True) -> bool:
    """Whether two outcomes are the same, whatever they were compared with before."""
    return OutcomeComparer().agree(actual, legal, filter_seen=filter_seen)


def clients(*ranges: str, interfaces: tuple[str, ...] | None = None) -> ClientSet:
    """Clients of some ranges; all pods of a node by default."""
    return ClientSet(
        addresses=AddressSet.of(Family.IPV4, [b.network(item) for item in ranges or ("10.244.1.0/24",)]),
        interfaces=frozenset(interfaces) if interfaces is not None else None,
    )


def case(*outcomes: Outcome, to: ClientSet | None = None, unclear: tuple[RuleRef, ...] = ()) -> Case:
    """One case; without clients it is for all pods of a node."""
    return Case(clients=to or clients(), outcomes=outcomes, unclear=unclear)


def key(where: str = "web", port_name: str = "") -> ServicePortKey:
    """The Service port of Service default/WHERE."""
    return ServicePortKey(service=b.key(where), port_name=port_name, protocol=Protocol.TCP)


def behaviour(*cases: Case | Outcome, of: ServicePortKey | None = None) -> Behaviour:
    """A behaviour; a plain outcome is that of all pods of a node."""
    return Behaviour(
        cases=tuple(case(item) if isinstance(item, Outcome) else item for item in cases), service_port=of or key()
    )


def frontend(
    address: str = "10.96.0.50",
    port: int = 80,
    *,
    kind: FrontendKind = FrontendKind.CLUSTER_IP,
    position: Position = Position.POD,
) -> Frontend:
    """An address of a Service, for pods."""
    return Frontend(address=b.address(address), protocol=Protocol.TCP, port=port, kind=kind, position=position)


def plane(**behaviours: Behaviour) -> DataPlane:
    """A data plane: `f50=…` is what happens at 10.96.0.50:80."""
    return DataPlane(
        node="node01", behaviours={frontend(f"10.96.0.{name[1:]}"): item for name, item in behaviours.items()}
    )


def difference(
    symptom: Symptom,
    *,
    service: str | None = "web",
    at: Frontend | None = None,
    decided_by: RuleRef | None = None,
    in_service_chain: bool = False,
    expected: str = "DNAT to 10.244.1.1:80",
    actual: str = "not translated",
    to: ClientSet | None = None,
    rules: tuple[RuleRef, ...] = (),
) -> Difference:
    """A difference of one frontend."""
    return Difference(
        node="node01",
        frontend=at or frontend(),
        service_port=key(service) if service else None,
        port_label="80/TCP",
        clients=to or clients(),
        symptom=symptom,
        expected=expected,
        actual=actual,
        decided_by=decided_by,
        in_service_chain=in_service_chain,
        rules=rules,
    )


def ref(text: str = "-A FORWARD -j DROP", *, line: int = 7, foreign: bool = True, action: str = "DROP") -> RuleRef:
    """A rule as evidence."""
    chain = text.split()[1] if text.startswith("-A") else text.split()[0].lstrip(":")
    return RuleRef(
        source="nodes/node01/iptables-save.txt",
        line=line,
        text=text,
        table="filter",
        chain=chain,
        action=action,
        foreign=foreign,
    )


def way(*steps: tuple[str, str, str, bool], rules: str) -> Passed:
    """A packet's way: (hook, rule as in `rules`, action, foreign) for each step; a step `:CHAIN` is its policy.

    `rules` is text of iptables-save.
    """
    ruleset = parse_iptables_save(rules, family=Family.IPV4, source="nodes/node01/iptables-save.txt")
    last: Passed | None = None
    for hook, text, action, foreign in steps:
        table, chain, rule = _find(ruleset, text)
        space = IptablesSpace(ruleset)
        met = space.end(table, chain) if rule is None else space.met(rule)
        assert met is not None
        met = replace(met, action=action, foreign=foreign)
        last = Passed(last, met, hook, table, 1.0, 0 if chain.policy else 1)
    assert last is not None
    return last


def _find(ruleset: Ruleset, text: str) -> tuple[str, Chain, Rule | None]:
    for table in ruleset.tables.values():
        for chain in table.chains.values():
            if text == f":{chain.name}":
                return table.name, chain, None
            for rule in chain.rules:
                if rule.text == text:
                    return table.name, chain, rule
    raise AssertionError(text)
