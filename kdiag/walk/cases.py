"""From the ends of a walk to cases: which clients meet which outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product

from kdiag.model.addresses import AddressSet
from kdiag.model.dataplane import Case, ClientSet, Fate, Outcome, Passed, RuleRef
from kdiag.walk.walker import Leaf

# Shares are sums of products of 31-bit fractions; what is below this is rounding.
ROUNDING = 12
MAX_WORLDS = 256


def make_outcome(shares: Iterable[tuple[Fate, float]]) -> Outcome:
    """Add up the shares of equal fates and scale them to 1. The order is kept: callers give fates in `fate_order`."""
    total: dict[Fate, float] = {}
    for fate, weight in shares:
        total[fate] = total.get(fate, 0.0) + weight
    whole = sum(total.values()) or 1.0
    return Outcome(shares=tuple([_share(fate, round(weight / whole, ROUNDING)) for fate, weight in total.items()]))


@lru_cache(1 << 14)
def _share(fate: Fate, share: float) -> tuple[Fate, float]:
    """The pair, the same object for the same pair: outcomes of a Service's addresses and clients have most of them alike."""
    return fate, share


def fate_order(fate: Fate) -> tuple[str, int, int, int, str, int]:
    """The order of the fates in an outcome: by disposition, then backend."""
    backend = fate.backend
    return (
        fate.disposition,
        backend.address.version if backend else 0,
        int(backend.address) if backend else 0,
        backend.port if backend else 0,
        fate.masquerade,
        -1 if fate.affinity_s is None else fate.affinity_s,
    )


def cut(sets: Sequence[ClientSet]) -> list[tuple[ClientSet, tuple[int, ...]]]:
    """Cut the union of client sets into disjoint pieces; with each the indexes of the sets that it lies in.

    Sets with the same indexes make one piece. Interfaces None ("not known") count as one interface of their own.
    """
    if not sets:
        return []
    first = sets[0]
    if all(item == first for item in sets):
        return [(first, tuple(range(len(sets))))]
    family = first.addresses.family
    names: dict[str | None, list[int]] = {}
    for index, item in enumerate(sets):
        for name in item.interfaces if item.interfaces is not None else (None,):
            names.setdefault(name, []).append(index)
    groups: dict[tuple[int, ...], list[str | None]] = {}
    for name, indexes in names.items():
        groups.setdefault(tuple(indexes), []).append(name)
    pieces: list[tuple[ClientSet, tuple[int, ...]]] = []
    for indexes_of_group, group in groups.items():
        interfaces = None if group == [None] else frozenset(name for name in group if name is not None)
        for ranges, members in _cut_addresses([(index, sets[index].addresses) for index in indexes_of_group]):
            pieces.append((ClientSet(addresses=AddressSet(family, ranges), interfaces=interfaces), members))
    pieces.sort(key=lambda piece: (piece[0].addresses.ranges, sorted(piece[0].interfaces or ())))
    return pieces


def _cut_addresses(
    sets: list[tuple[int, AddressSet]],
) -> list[tuple[tuple[tuple[int, int], ...], tuple[int, ...]]]:
    """Sweep over the borders of all ranges; collect the stretches that lie in the same sets."""
    borders: dict[int, tuple[list[int], list[int]]] = {}
    for index, addresses in sets:
        for low, high in addresses.ranges:
            borders.setdefault(low, ([], []))[0].append(index)
            borders.setdefault(high + 1, ([], []))[1].append(index)
    found: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    inside: set[int] = set()
    previous = 0
    for border in sorted(borders):
        if inside and border > previous:
            found.setdefault(tuple(sorted(inside)), []).append((previous, border - 1))
        starts, ends = borders[border]
        inside.difference_update(ends)
        inside.update(starts)
        previous = border
    return [(tuple(stretches), members) for members, stretches in found.items()]


def cases_of(leaves: Sequence[Leaf]) -> tuple[Case, ...]:
    """The cases that a walk ends in. Where undecided rules were met, a case has one outcome for each way they may go."""
    cases = []
    leaves = sorted(leaves, key=lambda leaf: fate_order(leaf.fate))
    simple = _SimpleCases(leaves)
    for clients, members in cut([leaf.clients for leaf in leaves]):
        case = simple.case(clients, members)
        if case is None:
            here = [leaves[index] for index in members]
            outcomes = _outcomes(here)
            unclear = _unclear(here) if len(outcomes) > 1 else ()
            case = Case(clients=clients, outcomes=outcomes, unclear=unclear, paths=_paths(here))
        cases.append(case)
    return tuple(cases)


class _SimpleCases:
    """Cases whose leaves hang on nothing undecided and have a fate each. Those of one walk share most of their leaves, and so
    what is made of them."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self._fates = [leaf.fate for leaf in leaves]
        self._weights = [leaf.weight for leaf in leaves]
        self._ways = [None if leaf.assumptions else leaf.passed for leaf in leaves]
        self._shares: dict[float, list[tuple[Fate, float]]] = {}

    def case(self, clients: ClientSet, members: Sequence[int]) -> Case | None:
        """The case of some of the leaves, by index; None if they are not so simple."""
        paths: dict[Fate, Passed] = {}
        for index in members:
            passed = self._ways[index]
            if passed is None:
                return None
            paths[self._fates[index]] = passed
        whole = sum([self._weights[index] for index in members])
        if len(paths) < len(members) or not whole:
            return None
        shares = self._shares.get(whole)
        if shares is None:
            weighed = zip(self._fates, self._weights, strict=True)
            shares = self._shares[whole] = [(fate, round(weight / whole, ROUNDING)) for fate, weight in weighed]
        return Case(
            clients=clients, outcomes=(Outcome(shares=tuple([shares[index] for index in members])),), paths=paths
        )


def _paths(leaves: Iterable[Leaf]) -> dict[Fate, Passed]:
    paths: dict[Fate, Passed] = {}
    for leaf in leaves:
        if leaf.passed is not None:
            paths.setdefault(leaf.fate, leaf.passed)
    return paths


def _unclear(leaves: Iterable[Leaf]) -> tuple[RuleRef, ...]:
    found = {step.ref() for leaf in leaves if leaf.passed for step in leaf.passed.steps() if step.unclear}
    return tuple(sorted(found, key=lambda ref: (ref.source, ref.line, ref.text)))


def _outcomes(leaves: Sequence[Leaf]) -> tuple[Outcome, ...]:
    numbers = sorted({number for leaf in leaves for number, _ in leaf.assumptions})
    if not numbers:
        return (make_outcome((leaf.fate, leaf.weight) for leaf in leaves),)
    found: dict[Outcome, None] = {}
    for ways in _worlds(len(numbers)):
        world = dict(zip(numbers, ways, strict=True))
        consistent = [leaf for leaf in leaves if all(world[number] is way for number, way in leaf.assumptions)]
        if consistent:
            found[make_outcome((leaf.fate, leaf.weight) for leaf in consistent)] = None
    return tuple(found)


def _worlds(count: int) -> Iterable[tuple[bool, ...]]:
    """The ways in which so many undecided rules may go: all of them, or where these are too many to list, those in
    which none, all, one only, or all but one match."""
    if 2**count <= MAX_WORLDS:
        return product((False, True), repeat=count)
    same = [(way,) * count for way in (False, True)]
    alone = [
        (*(not way,) * index, way, *(not way,) * (count - index - 1)) for way in (True, False) for index in range(count)
    ]
    return [*same, *alone]
