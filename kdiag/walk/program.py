"""A rule set made ready for walking: rules compiled once, chains indexed by destination and port."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kdiag.model.addresses import AddressSet
from kdiag.model.rules import Chain, NetworkMatch, Rule, Ruleset
from kdiag.walk.matches import compile_matches
from kdiag.walk.meaning import Compiled, Surroundings, cannot_tell, read_ports
from kdiag.walk.ownership import is_foreign
from kdiag.walk.targets import GOES_ON, describe

# Chains shorter than this are scanned; an index would cost more than it saves.
INDEXED_FROM = 8


@dataclass(slots=True, eq=False)
class CompiledRule:
    """One rule, ready to be asked. `number` is unique in its program; `order` its place in the chain. `foreign` is True
    if neither kube-proxy nor kubelet writes it."""

    rule: Rule
    number: int
    order: int
    protocol: str | None
    protocol_negated: bool
    destinations: tuple[tuple[int, int], ...] | None
    sources: AddressSet | None
    in_interface: Callable[[str], bool] | None
    out_interface: Callable[[str], bool] | None
    meaning: Compiled
    action: str
    foreign: bool
    inert: bool
    """True if the rule changes nothing, so that whether it matches is of no interest."""


@dataclass(slots=True, eq=False)
class CompiledChain:
    """A chain whose rules are found by what they ask for.

    Rules that ask for one destination address, or for one destination port and no address, are looked up; the others
    are looked at every time. Asking in printed order is kept.
    """

    chain: Chain
    table: str
    rules: tuple[CompiledRule, ...]
    by_destination: Mapping[int, tuple[CompiledRule, ...]] | None
    by_port: Mapping[int, tuple[CompiledRule, ...]]
    others: tuple[CompiledRule, ...]

    def candidates(self, destination: int, port: int) -> tuple[CompiledRule, ...] | list[CompiledRule]:
        """The rules that may match a packet to this address and port, in order."""
        if self.by_destination is None:
            return self.rules
        named = self.by_destination.get(destination, ())
        ported = self.by_port.get(port, ())
        if not named and not ported:
            return self.others
        return sorted((*named, *ported, *self.others), key=_order)


def _order(rule: CompiledRule) -> int:
    return rule.order


def interface_test(name: str, negated: bool) -> Callable[[str], bool]:
    """A test for `-i NAME`, where a trailing `+` stands for any ending."""
    if name.endswith("+"):
        prefix = name[:-1]
        return (lambda known: not known.startswith(prefix)) if negated else (lambda known: known.startswith(prefix))
    return (lambda known: known != name) if negated else (lambda known: known == name)


class Program:
    """All chains of one rule set on one node, compiled when first entered."""

    def __init__(self, ruleset: Ruleset, around: Surroundings) -> None:
        self.ruleset = ruleset
        self.around = around
        self._chains: dict[tuple[str, str], CompiledChain | None] = {}
        self._numbers = 0
        self.rules: list[Rule] = []
        """Rules by number."""
        self._unread: dict[tuple[str | None, str | None], list[Rule]] = {}
        for line in ruleset.unread:
            rule = Rule(
                table=line.table or "",
                chain=line.chain or "",
                line=line.line,
                text=line.text,
                target="?",
                unknown=(line.reason,),
            )
            self._unread.setdefault((line.table, line.chain), []).append(rule)

    def chain(self, table: str, name: str) -> CompiledChain | None:
        """The chain, compiled; None if the rule set has none of this name."""
        key = (table, name)
        if key not in self._chains:
            found = self.ruleset.chain(table, name)
            self._chains[key] = None if found is None else self._compile_chain(table, found)
        return self._chains[key]

    def _compile_chain(self, table: str, chain: Chain) -> CompiledChain:
        rules = chain.rules
        unread = self._unread.get((table, chain.name))
        if unread:
            rules = tuple(sorted((*rules, *unread), key=lambda rule: rule.line))
        compiled = tuple(self._compile_rule(rule, order) for order, rule in enumerate(rules))
        if len(compiled) < INDEXED_FROM:
            return CompiledChain(chain, table, compiled, None, {}, ())
        by_destination: dict[int, list[CompiledRule]] = {}
        by_port: dict[int, list[CompiledRule]] = {}
        others: list[CompiledRule] = []
        for item in compiled:
            ranges = item.destinations
            if ranges is not None and len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
                by_destination.setdefault(ranges[0][0], []).append(item)
            elif ranges is None and (port := _exact_port(item.rule)) is not None:
                by_port.setdefault(port, []).append(item)
            else:
                others.append(item)
        return CompiledChain(
            chain,
            table,
            compiled,
            {key: tuple(value) for key, value in by_destination.items()},
            {key: tuple(value) for key, value in by_port.items()},
            tuple(others),
        )

    def _compile_rule(self, rule: Rule, order: int) -> CompiledRule:
        family = self.around.network.family
        meaning = compile_matches(rule.modules, rule.matches, self.around, tracked=rule.table != "raw")
        if rule.unknown:
            meaning.tests.append(cannot_tell)
        decides = rule.target is not None and rule.target not in GOES_ON and not rule.target.startswith("KUBE-")
        if self.ruleset.hides_interfaces and decides and not rule.chain.startswith("KUBE-"):
            # A listing without -v does not print -i and -o: such a rule may be narrower than it looks.
            meaning.tests.append(cannot_tell)
        sources = _addresses(rule.source, family_set=AddressSet.everything(family))
        if meaning.sources is not None:
            sources = meaning.sources if sources is None else sources & meaning.sources
        destinations = _addresses(rule.destination, family_set=AddressSet.everything(family))
        self._numbers += 1
        self.rules.append(rule)
        return CompiledRule(
            rule=rule,
            number=self._numbers - 1,
            order=order,
            protocol=rule.protocol.name if rule.protocol else None,
            protocol_negated=bool(rule.protocol and rule.protocol.negated),
            destinations=destinations.ranges if destinations is not None else None,
            sources=sources,
            in_interface=interface_test(rule.in_interface.name, rule.in_interface.negated)
            if rule.in_interface
            else None,
            out_interface=interface_test(rule.out_interface.name, rule.out_interface.negated)
            if rule.out_interface
            else None,
            meaning=meaning,
            action=describe(rule),
            foreign=is_foreign(rule.chain, rule),
            inert=(
                (
                    rule.target is None
                    or (rule.target in GOES_ON and self.ruleset.chain(rule.table, rule.target) is None)
                )
                and meaning.looks_up is None
                and meaning.remembers is None
            ),
        )


def _addresses(match: NetworkMatch | None, family_set: AddressSet) -> AddressSet | None:
    if match is None:
        return None
    chosen = AddressSet.of(family_set.family, match.networks)
    return chosen.complement() if match.negated else chosen


def _exact_port(rule: Rule) -> int | None:
    for option in rule.matches:
        if option.name == "dport" and not option.negated and option.module in ("tcp", "udp", "sctp"):
            ranges = read_ports(option.values[0]) if option.values else None
            return ranges[0][0] if ranges is not None and len(ranges) == 1 and ranges[0][0] == ranges[0][1] else None
    return None
