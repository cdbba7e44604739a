"""Base chains behind nat do the same to packets for most endpoints: they are walked once for all that are alike.

What a chain does to a packet set hangs on its marks, its interfaces and the like, and on its addresses and ports only as far
as a rule tells them apart (`kdiag.walk.distinctions`). So two sets that agree in the former, and in the classes of the
latter, pass it alike. Only what goes through in one piece is remembered: a set that is split is walked each time.

A chain that may give packets another destination is not for this, nor are rules whose text does not name all that they ask
for: only those of iptables do.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

from msgspec import Struct

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import Disposition, Masquerade, Met, Passed
from kdiag.model.rules import Rule
from kdiag.walk.address_matches import MULTICAST
from kdiag.walk.chains import Leaf
from kdiag.walk.distinctions import Distinctions
from kdiag.walk.flow import Assumption, Flow
from kdiag.walk.iptables_rules import HOOKS, IptablesSpace
from kdiag.walk.meaning import Surroundings, read_ports
from kdiag.walk.program import Hooked, Space

_NAT_PRIORITY = {(hook, table): priority for hook, table, priority in HOOKS if table == "nat"}
_SPECIAL = {
    Family.IPV4: AddressSet.span(Family.IPV4, 0xFFFFFFFF, 0xFFFFFFFF),
    Family.IPV6: AddressSet.span(Family.IPV6, 0, 0),
}
"""The addresses of a kind of their own (`-m addrtype`), besides those of the node and multicast."""


def is_behind_nat(hooked: Hooked) -> bool:
    """True for a base chain that packets meet when they have the destination that nat gives them."""
    if hooked.hook == "OUTPUT":
        return hooked.priority > _NAT_PRIORITY["OUTPUT", "nat"]
    return hooked.hook != "PREROUTING"


class Before(Struct, frozen=True):
    """A packet set before it meets a base chain."""

    passed: Passed | None
    weight: float
    addresses: AddressSet
    in_interfaces: frozenset[str] | None
    destination: int
    port: int

    @staticmethod
    def of(flow: Flow) -> Before:
        """What is kept of a flow, which the chain changes."""
        return Before(flow.passed, flow.weight, flow.addresses, flow.in_interfaces, flow.destination, flow.port)


class Passage(Struct, frozen=True, kw_only=True):
    """What a base chain does to a packet set that stays in one piece.

    `end` is how it ends there, None if it goes on. `met` is what it meets: with the depth, and whether that is unclear.
    `steps` are the rules passed.
    """

    end: Disposition | None
    met: tuple[tuple[Met, int, bool], ...]
    steps: int
    assumptions: tuple[Assumption, ...]
    mark: int
    connmark: int
    masquerade: Masquerade
    rewritten: AddressSet | None
    affinity_s: int | None
    looked_up: tuple[tuple[str, int, str], ...]
    untracked: bool

    def repeat(self, flow: Flow, hooked: Hooked) -> None:
        """Do to another flow what the chain would do to it."""
        passed, weight = flow.passed, flow.weight
        for met, depth, unclear in self.met:
            passed = Passed(passed, met, hooked.hook, hooked.kind, weight, depth, unclear)
        flow.passed = passed
        flow.mark = self.mark
        flow.connmark = self.connmark
        flow.masquerade = self.masquerade
        flow.rewritten = self.rewritten
        flow.affinity_s = self.affinity_s
        flow.looked_up = self.looked_up
        flow.untracked = self.untracked
        flow.assumptions = self.assumptions


def passage_of(
    before: Before, flow: Flow, passing: Sequence[Flow], ended: Sequence[Leaf], steps: int
) -> Passage | None:
    """What a base chain did to a flow: it went on as `passing`, or ended. None if another flow may fare otherwise."""
    if len(passing) + len(ended) != 1:
        return None
    if passing:
        (after,) = passing
        same = after.addresses == before.addresses and after.in_interfaces == before.in_interfaces
        same = same and (after.destination, after.port) == (before.destination, before.port)
        weight, passed, assumptions, end = after.weight, after.passed, after.assumptions, None
    else:
        (leaf,) = ended
        after = flow
        same = leaf.clients.addresses == before.addresses and leaf.clients.interfaces == before.in_interfaces
        weight, passed, assumptions, end = leaf.weight, leaf.passed, leaf.assumptions, leaf.fate.disposition
    met = []
    while passed is not None and passed is not before.passed:
        same = same and passed.weight == before.weight
        met.append((passed.met, passed.depth, passed.unclear))
        passed = passed.previous
    if not same or weight != before.weight or passed is not before.passed:
        return None
    return Passage(
        end=end,
        met=tuple(reversed(met)),
        steps=steps,
        assumptions=assumptions,
        mark=after.mark,
        connmark=after.connmark,
        masquerade=after.masquerade,
        rewritten=after.rewritten,
        affinity_s=after.affinity_s,
        looked_up=after.looked_up,
        untracked=after.untracked,
    )


class Passages:
    """The passages through the base chains of a program that are known already."""

    def __init__(self, distinctions: Distinctions) -> None:
        self._distinctions = distinctions
        self._known: dict[Hashable, Passage | None] = {}
        self._places: dict[tuple[int, int, int, int], tuple[int, int, int, int, bool]] = {}
        self._sources: dict[AddressSet, frozenset[int]] = {}

    def key(self, hooked: Hooked, flow: Flow) -> Hashable:
        """All of a flow that its way through a base chain may hang on, and which chain that is.

        Two rule sets may have chains of one name, so a base chain is known by the object, which lives as long as the program.
        """
        return (
            id(hooked),
            self._place_of((flow.destination, flow.port, flow.original_destination, flow.original_port)),
            self._classes_of(flow.addresses),
            flow.protocol,
            flow.in_interfaces,
            flow.out_interfaces,
            flow.local_origin,
            flow.mark,
            flow.connmark,
            flow.translated,
            flow.untracked,
            flow.seen,
            flow.masquerade,
            flow.rewritten,
            flow.affinity_s,
            flow.looked_up,
            flow.assumptions,
        )

    def known(self, key: Hashable) -> Passage | None:
        """The passage of flows with this key, if one was remembered."""
        return self._known.get(key)

    def is_new(self, key: Hashable) -> bool:
        """True if nothing is known of flows with this key, not even that they are split."""
        return key not in self._known

    def remember(self, key: Hashable, passage: Passage | None) -> None:
        """Keep what was found for flows with this key; None if it cannot be repeated."""
        self._known[key] = passage

    def _place_of(self, sockets: tuple[int, int, int, int]) -> tuple[int, int, int, int, bool]:
        """The classes of where packets go to and went to, and whether these are the same."""
        place = self._places.get(sockets)
        if place is None:
            here, port, before, port_before = sockets
            told = self._distinctions
            place = self._places[sockets] = (
                told.of_address(here),
                told.of_port(port),
                told.of_address(before),
                told.of_port(port_before),
                (here, port) == (before, port_before),
            )
        return place

    def _classes_of(self, addresses: AddressSet) -> frozenset[int]:
        found = self._sources.get(addresses)
        if found is None:
            found = self._sources[addresses] = self._distinctions.of_set(addresses)
        return found


def passages_of(spaces: Iterable[Space], around: Surroundings) -> Passages | None:
    """Where passages through these rules are kept; None if they cannot be told to be alike."""
    texts: list[str] = []
    for space in spaces:
        if not isinstance(space, IptablesSpace):
            return None
        for hooked in space.hooked():
            if not is_behind_nat(hooked):
                continue
            for rule in space.reached(hooked.table, hooked.chain):
                if rule.target in ("DNAT", "REDIRECT"):
                    return None
                texts.append(rule.text)
                texts += _ports(rule)
    family = around.network.family
    special = [_SPECIAL[family], AddressSet.of(family, (MULTICAST[family],))]
    text = "\n".join(dict.fromkeys(texts)).encode(errors="replace")
    return Passages(Distinctions(around.network, (text,), special, (around.ipsets or {}).values(), apart=False))


def _ports(rule: Rule) -> Iterator[str]:
    """The ports of a rule in figures: it may name them by words."""
    for option in rule.matches:
        for value in option.values:
            for low, high in read_ports(value) or ():
                yield f"{low}:{high}"
