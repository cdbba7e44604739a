"""Structural faults of nftables mode that are seen in the rules before any packet is followed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kdiag.model import nft
from kdiag.model.addresses import AddressSet, Family, parse_network
from kdiag.model.dataplane import Behaviour, Frontend, FrontendKind, Position, RuleRef
from kdiag.model.difference import CauseKind, Condition, Symptom
from kdiag.planes.interface import ReadingOrder, sends_on
from kdiag.planes.iptables_jumps import MASKED, NOT_SENT_ON
from kdiag.walk.ownership import NFT_FAMILIES, NFT_TABLE

# Where Services are looked up, by hook: what a missing look-up does to whom.
LOOKUPS: tuple[tuple[str, str, frozenset[Position]], ...] = (
    ("prerouting", "services", frozenset({Position.POD, Position.EXTERNAL})),
    ("output", "services", frozenset({Position.NODE})),
)


def conditions_of(
    ruleset: nft.NftRuleset, family: Family, expected: Mapping[Frontend, Behaviour], order: ReadingOrder
) -> tuple[Condition, ...]:
    """Every structural fault of one family, the one that explains most first."""
    if not expected:
        return ()
    table = ruleset.table(NFT_FAMILIES[family], NFT_TABLE)
    if table is None or not table.chains:
        label = f"{NFT_FAMILIES[family]} {NFT_TABLE}"
        text = f"(no table {label})" if table is None else f"table {label} {{ }}"
        return (
            Condition(
                cause=CauseKind.NEVER_WROTE,
                family=family,
                detail=f"{ruleset.source} has no table {label}"
                if table is None
                else f"table {label} of {ruleset.source} is empty",
                expected=f"table {label} with the rules of kube-proxy",
                actual="no such table" if table is None else "no rules",
                rules=(RuleRef(source=ruleset.source, line=table.line if table else 0, text=text, table=label),),
            ),
        )
    seen = _Table(ruleset.source, table, family)
    return (
        *_base_jumps(seen),
        *_flushed(seen, order.demanded(expected)),
        *_masquerading(seen),
        *_local_detection(seen, order),
    )


class _Table:
    """kube-proxy's table of one family, and its parts as evidence."""

    def __init__(self, source: str, table: nft.NftTable, family: Family) -> None:
        self.source = source
        self.table = table
        self.family = family
        self.label = f"{table.family} {table.name}"

    def at(self, hook: str, kind: str) -> list[nft.NftChain]:
        """The base chains of a type at a hook."""
        return [
            chain
            for chain in self.table.chains.values()
            if chain.hook is not None and chain.hook.hook == hook and chain.hook.type == kind
        ]

    def rules(self, name: str) -> tuple[nft.NftRule, ...]:
        """The rules of a chain; none if there is none of this name."""
        chain = self.table.chains.get(name)
        return chain.rules if chain else ()

    def refs(self, chains: Iterable[nft.NftChain]) -> tuple[RuleRef, ...]:
        """Chains as evidence; the table where there are none."""
        found = tuple(self.chain_ref(chain) for chain in chains)
        text = f"table {self.label}"
        return found or (RuleRef(source=self.source, line=self.table.line, text=text, table=self.label),)

    def chain_ref(self, chain: nft.NftChain) -> RuleRef:
        """A chain as evidence."""
        return RuleRef(
            source=self.source, line=chain.line, text=f"chain {chain.name}", table=self.label, chain=chain.name
        )

    def rule_ref(self, rule: nft.NftRule) -> RuleRef:
        """A rule as evidence."""
        return RuleRef(source=self.source, line=rule.line, text=rule.text, table=self.label, chain=rule.chain)

    def set_ref(self, name: str) -> RuleRef:
        """A set or map as evidence."""
        found = self.table.sets.get(name)
        return RuleRef(source=self.source, line=found.line if found else 0, text=f"map {name}", table=self.label)


def _base_jumps(seen: _Table) -> Iterator[Condition]:
    for hook, name, positions in LOOKUPS:
        chains = seen.at(hook, "nat")
        if any(_leads_to(chain, name) for chain in chains):
            continue
        yield Condition(
            cause=CauseKind.BASE_JUMP,
            family=seen.family,
            detail=f"no nat chain of table {seen.label} at hook {hook} leads to chain {name}",
            expected=f"chain nat-{hook}: jump {name}",
            actual="no such rule" if chains else "no such chain",
            rules=seen.refs(chains),
            positions=positions,
            symptoms=NOT_SENT_ON | MASKED,
        )
    chains = seen.at("postrouting", "nat")
    if "masquerading" in seen.table.chains and not any(_leads_to(chain, "masquerading") for chain in chains):
        yield Condition(
            cause=CauseKind.BASE_JUMP,
            family=seen.family,
            detail=f"no nat chain of table {seen.label} at hook postrouting leads to chain masquerading",
            expected="chain nat-postrouting: jump masquerading",
            actual="no such rule" if chains else "no such chain",
            rules=seen.refs(chains),
            symptoms=MASKED,
        )
    yield from _checks(seen)


def _checks(seen: _Table) -> Iterator[Condition]:
    """The chains that refuse what has no endpoint are asked from these hooks (1.30 on)."""
    name = "service-endpoints-check"
    if name not in seen.table.chains:
        return
    for hook, positions in (
        ("forward", frozenset({Position.POD, Position.EXTERNAL})),
        ("output", frozenset({Position.NODE})),
    ):
        chains = seen.at(hook, "filter")
        if any(_leads_to(chain, name) for chain in chains):
            continue
        yield Condition(
            cause=CauseKind.BASE_JUMP,
            family=seen.family,
            detail=f"no filter chain of table {seen.label} at hook {hook} leads to chain {name}",
            expected=f"chain filter-{hook}: ct state new jump {name}",
            actual="no such rule" if chains else "no such chain",
            rules=seen.refs(chains),
            positions=positions,
            symptoms=frozenset({Symptom.NOT_REFUSED}),
            stands_alone=False,
        )


def _leads_to(chain: nft.NftChain, name: str) -> bool:
    return any(
        isinstance(statement, nft.Verdict) and statement.kind in ("jump", "goto") and statement.chain == name
        for rule in chain.rules
        for statement in rule.statements
    )


def _flushed(seen: _Table, expected: Mapping[Frontend, Behaviour]) -> Iterator[Condition]:
    translated = [frontend for frontend, item in expected.items() if sends_on(item)]
    refused = [frontend for frontend, item in expected.items() if not sends_on(item)]
    node_ports = frozenset({FrontendKind.NODE_PORT})
    others = frozenset(FrontendKind) - node_ports
    chain = seen.table.chains.get("services")
    if translated and (chain is None or not chain.rules):
        yield _empty(seen, "chain services", None if chain is None else seen.chain_ref(chain), None, NOT_SENT_ON)
        return
    cases = (
        ("service-ips", others, translated, NOT_SENT_ON, True),
        ("service-nodeports", node_ports, translated, NOT_SENT_ON, True),
        ("nodeport-ips", node_ports, translated, NOT_SENT_ON | {Symptom.NOT_REFUSED}, True),
        ("no-endpoint-services", others, refused, frozenset({Symptom.NOT_REFUSED}), False),
        ("no-endpoint-nodeports", node_ports, refused, frozenset({Symptom.NOT_REFUSED}), False),
    )
    for name, kinds, frontends, symptoms, alone in cases:
        wanted = [frontend for frontend in frontends if frontend.kind in kinds]
        found = seen.table.sets.get(name)
        if found is None and name == "nodeport-ips":
            continue  # Not asked for: NodePorts are open everywhere.
        if wanted and (found is None or (found.listed and not found.elements)):
            what = "set" if name == "nodeport-ips" else "map"
            yield _empty(seen, f"{what} {name}", seen.set_ref(name) if found else None, kinds, symptoms, alone=alone)
    if any(frontend.kind is FrontendKind.NODE_PORT for frontend in translated) and not _asks(
        chain, "service-nodeports"
    ):
        yield Condition(
            cause=CauseKind.NODE_PORT_DISPATCH,
            family=seen.family,
            detail=f"chain services of table {seen.label} does not look NodePorts up",
            expected="meta l4proto . th dport vmap @service-nodeports",
            actual="no such rule",
            rules=() if chain is None else (seen.chain_ref(chain),),
            kinds=node_ports,
            symptoms=NOT_SENT_ON,
        )


def _empty(
    seen: _Table,
    what: str,
    rule: RuleRef | None,
    kinds: frozenset[FrontendKind] | None,
    symptoms: frozenset[Symptom],
    *,
    alone: bool = True,
) -> Condition:
    return Condition(
        cause=CauseKind.FLUSHED,
        family=seen.family,
        detail=f"{what} of table {seen.label} {'does not exist' if rule is None else 'is empty'}",
        expected=f"{what} with an entry for each address",
        actual="nothing in it" if rule else "no such object",
        rules=(rule,) if rule else (),
        symptoms=symptoms,
        kinds=kinds,
        stands_alone=alone,
    )


def _asks(chain: nft.NftChain | None, name: str) -> bool:
    return chain is not None and any(
        isinstance(statement, nft.VerdictMap) and statement.table == nft.SetReference(name)
        for rule in chain.rules
        for statement in rule.statements
    )


# -- masquerade --------------------------------------------------------------------------------------------------------


def _masquerading(seen: _Table) -> Iterator[Condition]:
    rules = seen.rules("masquerading")
    masquerades = [rule for rule in rules if any(_masquerades(item) for item in rule.statements)]
    set_bits = {bit for chain in seen.table.chains.values() for rule in chain.rules for bit in _marks_set(rule)}
    asked = {bit for rule in rules for bit in _marks_asked(rule)}
    detail = None
    if not masquerades:
        chain = seen.table.chains.get("masquerading")
        evidence: tuple[RuleRef, ...] = () if chain is None else (seen.chain_ref(chain),)
        detail = f"chain masquerading of table {seen.label} " + (
            "does not exist" if chain is None else "has no masquerade"
        )
    elif asked and set_bits and not asked & set_bits:
        detail = (
            f"the rules of table {seen.label} set mark {_hex(set_bits)} and chain masquerading asks for {_hex(asked)}"
        )
        evidence = tuple(seen.rule_ref(rule) for rule in rules)
    if detail is not None:
        yield Condition(
            cause=CauseKind.MASQUERADE_RULE,
            family=seen.family,
            detail=detail,
            expected="meta mark & 0x4000 != 0 … masquerade",
            actual="no such rule",
            rules=evidence,
            symptoms=MASKED,
        )


def _masquerades(statement: nft.Statement) -> bool:
    return isinstance(statement, nft.Translate) and statement.kind in ("masquerade", "snat")


def _marks_set(rule: nft.NftRule) -> Iterator[int]:
    for statement in rule.statements:
        if isinstance(statement, nft.Assign) and isinstance(statement.value, nft.Binary):
            if statement.value.operator == "|" and isinstance(statement.value.right, nft.Value):
                if isinstance(statement.value.right.value, int):
                    yield statement.value.right.value


def _marks_asked(rule: nft.NftRule) -> Iterator[int]:
    for statement in rule.statements:
        if isinstance(statement, nft.Match) and isinstance(statement.left, nft.Binary):
            if statement.left.operator == "&" and isinstance(statement.left.right, nft.Value):
                if isinstance(statement.left.right.value, int):
                    yield statement.left.right.value


def _hex(bits: Iterable[int]) -> str:
    return ", ".join(hex(bit) for bit in sorted(bits))


# -- how local pods are told -------------------------------------------------------------------------------------------


def _local_detection(seen: _Table, order: ReadingOrder) -> Iterator[Condition]:
    """The range in the rules' `saddr != RANGE` is not the one that the cluster's pods have."""
    wanted = order.local_ranges.get(seen.family)
    if wanted is None:
        return
    other: dict[str, list[nft.NftRule]] = {}
    right = 0
    for rule in masquerade_rules(seen.table):
        text = not_from(rule)
        if text is None:
            continue
        if parse_network(text) == wanted:
            right += 1
        else:
            other.setdefault(text, []).append(rule)
    for text, rules in sorted(other.items()):
        network = parse_network(text)
        yield Condition(
            cause=CauseKind.LOCAL_DETECTION,
            family=seen.family,
            detail=f"the masquerade rules take {text} for the pods' range; the cluster's is {wanted}",
            expected=f"saddr != {wanted}",
            actual=f"saddr != {text} in {len(rules)} rules",
            rules=tuple(seen.rule_ref(rule) for rule in rules[:1]),
            clients=AddressSet.of(seen.family, [wanted, *([network] if network is not None else [])]),
        )


def masquerade_rules(table: nft.NftTable) -> Iterator[nft.NftRule]:
    """The rules that mark what comes to a ClusterIP and is not from a pod: in chain services from 1.33 on, before in the
    chain of each Service."""
    for chain in table.chains.values():
        if chain.name == "services" or chain.name.startswith(("service-", "local-")):
            for rule in chain.rules:
                if any(isinstance(item, nft.Assign) for item in rule.statements) or _jumps_to_mark(rule):
                    yield rule


def _jumps_to_mark(rule: nft.NftRule) -> bool:
    return any(isinstance(item, nft.Verdict) and item.chain == "mark-for-masquerade" for item in rule.statements)


def not_from(rule: nft.NftRule) -> str | None:
    """The range that a rule spares: `ip saddr != 10.244.0.0/16`."""
    for statement in rule.statements:
        match statement:
            case nft.Match(
                left=nft.Payload(field="saddr"), operator="!=", right=nft.Prefix(address=text, length=length)
            ):
                return f"{text}/{length}"
            case _:
                continue
    return None
