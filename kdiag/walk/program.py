"""Rules made ready for walking: compiled once, chains indexed by destination and port, base chains in kernel order.

What the rules of a node are printed by (iptables, nft, ipvsadm) makes no difference here: each is a `Space` of chains.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from kdiag.model.addresses import AddressSet
from kdiag.model.dataplane import Met
from kdiag.walk.actions import Action, Way
from kdiag.walk.flow import Flow
from kdiag.walk.meaning import Compiled, Surroundings

# Chains shorter than this are scanned; an index would cost more than it saves.
INDEXED_FROM = 8


class CompiledRule(Struct, kw_only=True, eq=False):
    """One rule, ready to be asked. `number` is unique in its program; `order` its place in the chain.

    All conditions must hold. `narrows` gives the clients of a flow that match, where these depend on the flow. What
    follows is `actions` in order, or where a rule may do several things those of the `ways` for the flow: what no way
    takes goes on to the next rule; None means that the ways are not known.
    """

    met: Met
    number: int
    order: int
    meaning: Compiled
    actions: tuple[Action, ...] = ()
    ways: Callable[[Flow], Sequence[Way] | None] | None = None
    protocol: str | None = None
    protocol_negated: bool = False
    destinations: tuple[tuple[int, int], ...] | None = None
    destination_port: int | None = None
    """The one port that is asked for; it only serves to find the rule, `meaning` holds the test."""
    sources: AddressSet | None = None
    narrows: Callable[[Flow], AddressSet | None] | None = None
    in_interface: Callable[[str], bool] | None = None
    in_unknown: bool | None = None
    """Whether an interface that is not known matches `in_interface` (it is not lo)."""
    out_interface: Callable[[str], bool] | None = None
    inert: bool = False
    """True if the rule changes nothing, so that whether it matches is of no interest."""


class CompiledChain(Struct, eq=False):
    """A chain whose rules are found by what they ask for.

    Rules that ask for one destination address, or for one destination port and no address, are looked up; the others
    are looked at every time. Asking in printed order is kept. `policy` is what the end of a base chain does, met as
    `end`; both are None for other chains.
    """

    rules: tuple[CompiledRule, ...]
    policy: str | None
    end: Met | None
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


def index_chain(rules: Sequence[CompiledRule], policy: str | None, end: Met | None) -> CompiledChain:
    """A chain with its index. Inert rules are left out."""
    rules = [item for item in rules if not item.inert]
    if len(rules) < INDEXED_FROM:
        return CompiledChain(tuple(rules), policy, end, None, {}, ())
    by_destination: dict[int, list[CompiledRule]] = {}
    by_port: dict[int, list[CompiledRule]] = {}
    others: list[CompiledRule] = []
    for item in rules:
        ranges = item.destinations
        if ranges is not None and len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
            by_destination.setdefault(ranges[0][0], []).append(item)
        elif ranges is None and item.destination_port is not None:
            by_port.setdefault(item.destination_port, []).append(item)
        else:
            others.append(item)
    return CompiledChain(
        tuple(rules),
        policy,
        end,
        {key: tuple(value) for key, value in by_destination.items()},
        {key: tuple(value) for key, value in by_port.items()},
        tuple(others),
    )


def interface_test(name: str, negated: bool) -> Callable[[str], bool]:
    """A test for `-i NAME`, where a trailing `+` stands for any ending."""
    if name.endswith("+"):
        prefix = name[:-1]
        return (lambda known: not known.startswith(prefix)) if negated else (lambda known: known.startswith(prefix))
    return (lambda known: known != name) if negated else (lambda known: known == name)


class Hooked(Struct, frozen=True):
    """Where a base chain is hooked in.

    `hook` in capitals (`PREROUTING`); lower priorities are asked first. `kind` is `raw`, `mangle`, `nat`, `filter`,
    `security` or `ipvs`; nat is asked once a connection.
    """

    hook: str
    priority: int
    kind: str
    table: str
    chain: str


class Space(Protocol):
    """Chains that refer to each other: all that one dump shows."""

    @property
    def rule_count(self) -> int:
        """Rules in all chains."""

    def hooked(self) -> Iterable[Hooked]:
        """The base chains."""

    def compile(self, table: str, chain: str, around: Surroundings, number: Callable[[], int]) -> CompiledChain | None:
        """A chain made ready; None if there is none of this name. `number` gives each rule its number."""


class Chains(Struct, eq=False):
    """The chains of one space, compiled when first entered."""

    space: Space
    around: Surroundings
    number: Callable[[], int]
    made: dict[tuple[str, str], CompiledChain | None]

    def chain(self, table: str, name: str) -> CompiledChain | None:
        """The chain; None if the space has none of this name."""
        key = (table, name)
        found = self.made.get(key)
        if found is None and key not in self.made:
            found = self.made[key] = self.space.compile(table, name, self.around, self.number)
        return found


class Program:
    """All rules of one family on one node."""

    def __init__(self, spaces: Sequence[Space], around: Surroundings) -> None:
        self.spaces = spaces
        self.around = around
        self.rule_count = sum(space.rule_count for space in spaces)
        bases: dict[str, list[tuple[Hooked, Chains]]] = {}
        # Not a method of the program: that would be a cycle, and all rules would be there until Python looks for cycles.
        number = itertools.count().__next__
        for space in spaces:
            chains = Chains(space, around, number, {})
            for item in space.hooked():
                bases.setdefault(item.hook, []).append((item, chains))
        # Of equal priorities the kernel asks the one that was registered last; no dump shows which.
        self.bases = {hook: sorted(items, key=lambda item: item[0].priority) for hook, items in bases.items()}
        """Base chains by hook, in the order in which the kernel asks them."""
