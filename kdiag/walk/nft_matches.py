"""What nftables rules ask of a packet.

Sources: nft(8) 1.0.6 and the kernel's net/netfilter/nft_*.c. Where the packet has no such field the rule ends, also where
it asks for something else (`!=`).
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from kdiag.model import nft
from kdiag.model.addresses import AddressSet
from kdiag.walk.flow import Flow
from kdiag.walk.meaning import Compiled, Surroundings, Test, cannot_tell, negate
from kdiag.walk.nft_sets import Elements, TableSets
from kdiag.walk.nft_values import Lack, Part, number_of, parts_of
from kdiag.walk.program import interface_test

INTERFACES = ("iif", "iifname", "oif", "oifname")
ORDERINGS = ("<", ">", "<=", ">=")


class Asked(Struct):
    """What a rule asks, as far as it has been read."""

    meaning: Compiled = field(default_factory=Compiled)
    destinations: tuple[tuple[int, int], ...] | None = None
    in_interface: Callable[[str], bool] | None = None
    in_unknown: bool | None = None
    out_interface: Callable[[str], bool] | None = None


def add_match(asked: Asked, match: nft.Match, sets: TableSets, around: Surroundings) -> None:
    """Read one match."""
    meaning = asked.meaning
    negated = match.operator == "!="
    if isinstance(match.left, nft.Meta) and match.left.key in INTERFACES:
        _interface(asked, match.left.key, sets.words(match.right), negated)
        return
    if isinstance(match.left, nft.Ct) and match.left.key == "status":
        meaning.tests.append(negate(_connection_status(match.right), negated))
        return
    if match.operator in ORDERINGS:
        meaning.tests.append(_comparison(match, around))
        return
    if isinstance(match.right, nft.SetReference) and match.right.name in sets.written and not negated:
        meaning.looks_up = (match.right.name, sets.timeout(match.right.name))
        return
    parts = parts_of(match.left, around)
    right = match.right
    if isinstance(match.left, nft.Binary) and match.operator != "in" and _are_flags(right):
        # `tcp flags & (fin|syn) == fin,syn`: not a choice, but all of them.
        number = number_of(right, around)
        meaning.tests.append(negate(_equals(parts[0], number), negated))
        return
    index = sets.index(parts, match.left, right)
    if index is None:
        meaning.tests.append(cannot_tell)
    elif index.asks_source:
        _by_source(meaning, parts, index, negated)
    else:
        if isinstance(match.left, nft.Payload) and match.left.field == "daddr" and not negated:
            single = parts[0].constant(right)
            if single is not None and len(single) == 1 and not isinstance(single[0], str):
                asked.destinations = asked.destinations or (single[0],)
        meaning.tests.append(_in_index(index, negated))


def _are_flags(right: nft.Expression) -> bool:
    return isinstance(right, nft.SetLiteral) and all(
        isinstance(item, nft.Value) and isinstance(item.value, str) for item in right.elements
    )


def _by_source(meaning: Compiled, parts: tuple[Part, ...], index: Elements, negated: bool) -> None:
    if len(parts) == 1 and not index.vague:
        chosen = index.everything()
        meaning.narrow(chosen.complement() if negated else chosen)
        return

    def narrows(flow: Flow) -> AddressSet | None:
        if index.is_absent(flow):
            return AddressSet.nothing(flow.family)
        found = index.sources_of(flow)
        return found if found is None or not negated else found.complement()

    before = meaning.narrows
    meaning.narrows = narrows if before is None else _both(before, narrows)


def _both(
    one: Callable[[Flow], AddressSet | None], other: Callable[[Flow], AddressSet | None]
) -> Callable[[Flow], AddressSet | None]:
    def narrows(flow: Flow) -> AddressSet | None:
        first, second = one(flow), other(flow)
        return None if first is None or second is None else first & second

    return narrows


def _in_index(index: Elements, negated: bool) -> Test:
    def test(flow: Flow) -> bool | None:
        if index.is_absent(flow):
            return False
        hits = index.find(flow)
        if hits is None or not all(hit.certain for hit in hits):
            return None
        return bool(hits) is not negated

    return test


def _equals(part: Part, number: Callable[[Flow], int | str | Lack]) -> Test:
    def test(flow: Flow) -> bool | None:
        one = Lack.UNKNOWN if part.read is None else part.read(flow)
        other = number(flow)
        return None if isinstance(one, Lack) or isinstance(other, Lack) else one == other

    return test


def _interface(asked: Asked, key: str, names: list[str] | None, negated: bool) -> None:
    if names is None:
        asked.meaning.tests.append(cannot_tell)
        return
    tests = [interface_test(name[:-1] + "+" if name.endswith("*") else name, False) for name in names]

    def test(known: str) -> bool:
        return any(item(known) for item in tests) is not negated

    if key.startswith("iif"):
        earlier = asked.in_interface
        asked.in_interface = test if earlier is None else lambda known: earlier(known) and test(known)
        asked.in_unknown = negated if names == ["lo"] else None
    else:
        before = asked.out_interface
        asked.out_interface = test if before is None else lambda known: before(known) and test(known)


def _comparison(match: nft.Match, around: Surroundings) -> Test:
    left, right = number_of(match.left, around), number_of(match.right, around)
    operator = match.operator

    def test(flow: Flow) -> bool | None:
        one, other = left(flow), right(flow)
        if Lack.ABSENT in (one, other):
            return False
        if not isinstance(one, int) or not isinstance(other, int):
            return None
        return {"<": one < other, ">": one > other, "<=": one <= other, ">=": one >= other}[operator]

    return test


def _connection_status(right: nft.Expression) -> Test:
    elements = right.elements if isinstance(right, nft.SetLiteral) else (right,)
    wanted = {str(item.value) for item in elements if isinstance(item, nft.Value)}

    def test(flow: Flow) -> bool | None:
        # A translation that changes nothing does not count (nf_nat_setup_info compares the tuples).
        changed = (flow.destination, flow.port) != (flow.original_destination, flow.original_port)
        if "dnat" in wanted and changed and not flow.untracked:
            return True
        return None if "snat" in wanted and flow.rewritten is not None else False

    return test
