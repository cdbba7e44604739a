"""Sets and maps of nftables made ready for look-ups: what has this key?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kdiag.model import nft
from kdiag.model.addresses import AddressSet, Family
from kdiag.walk.flow import Flow
from kdiag.walk.nft_values import Constant, FieldValue, Lack, Part, holds

Held = TypeVar("Held")


@dataclass(frozen=True, slots=True)
class Hit(Generic[Held]):
    """An element that has a flow's key, and for which of its sources (None: all of them)."""

    key: nft.Expression
    held: Held
    sources: AddressSet | None


class Index(Generic[Held]):
    """The elements of a set or map by the parts of their keys.

    Elements whose parts are all single values are looked up; those with ranges are tried one by one. One that is not
    understood may have any key: `vague` is True, and a look-up that finds nothing is then not certain.
    """

    def __init__(
        self, family: Family, parts: tuple[Part, ...], elements: Iterable[tuple[nft.Expression, Held]]
    ) -> None:
        self._family = family
        self._reads = [part.read for part in parts if part.read is not None]
        self._source_at = next((at for at, part in enumerate(parts) if part.read is None), None)
        self._exact: dict[tuple[FieldValue, ...], list[tuple[nft.Expression, Held, AddressSet | None]]] = {}
        self._ranged: list[tuple[tuple[Constant, ...], nft.Expression, Held, AddressSet | None]] = []
        self.vague = False
        for key, held in elements:
            self._add(parts, key, held)

    def _add(self, parts: tuple[Part, ...], key: nft.Expression, held: Held) -> None:
        pieces = key.parts if isinstance(key, nft.Concat) else (key,) * (len(parts) if key == nft.Wildcard() else 1)
        if len(pieces) != len(parts):
            self.vague = True
            return
        constants: list[tuple[Constant, ...]] = []
        sources: AddressSet | None = None
        for at, (part, piece) in enumerate(zip(parts, pieces, strict=True)):
            named = part.constant(piece)
            if named is None:
                self.vague = True
                return
            if at == self._source_at:
                sources = _as_addresses(self._family, named)
            else:
                constants.append(named)
        single = [item[0] if len(item) == 1 else None for item in constants]
        exact = tuple(_single(item) for item in single)
        if None not in exact:
            self._exact.setdefault(tuple(item for item in exact if item is not None), []).append((key, held, sources))
            return
        for combination in _combinations(constants):
            self._ranged.append((combination, key, held, sources))

    def find(self, flow: Flow) -> list[Hit[Held]] | None:
        """The elements that have the flow's key; None where this cannot be told."""
        values = tuple(read(flow) for read in self._reads)
        if Lack.ABSENT in values:
            return []
        if Lack.UNKNOWN in values or (self._source_at is not None and flow.rewritten is not None):
            return None if self._exact or self._ranged or self.vague else []
        hits = [Hit(key, held, sources) for key, held, sources in self._exact.get(values, ())]
        for constants, key, held, sources in self._ranged:
            if all(
                holds(value, constant)
                for value, constant in zip(values, constants, strict=True)
                if not isinstance(value, Lack)
            ):
                hits.append(Hit(key, held, sources))
        return None if self.vague and not hits else hits

    def covers(self, flow: Flow) -> AddressSet | bool | None:
        """Whether the flow's key is in the set: True, False, the sources for which it is, or None (cannot be told)."""
        hits = self.find(flow)
        if hits is None:
            return None
        if self._source_at is None:
            return bool(hits)
        found = AddressSet.nothing(self._family)
        for hit in hits:
            found = found | (hit.sources or found)
        return found

    def everything(self) -> AddressSet:
        """All sources that any element names, for a key that is the source alone."""
        found = AddressSet.nothing(self._family)
        for hits in self._exact.values():
            for _, _, sources in hits:
                found = found | (sources or found)
        return found

    @property
    def asks_source(self) -> bool:
        """True if the source address is a part of the key."""
        return self._source_at is not None


def _single(constant: Constant | None) -> FieldValue | None:
    if isinstance(constant, str):
        return None if constant.endswith("*") else constant
    return constant[0] if constant is not None and constant[0] == constant[1] else None


def _as_addresses(family: Family, constants: tuple[Constant, ...]) -> AddressSet:
    chosen = AddressSet.nothing(family)
    for item in constants:
        if not isinstance(item, str):
            chosen = chosen | AddressSet.span(family, item[0], item[1])
    return chosen


def _combinations(constants: list[tuple[Constant, ...]]) -> list[tuple[Constant, ...]]:
    found: list[tuple[Constant, ...]] = [()]
    for item in constants:
        found = [(*head, constant) for head in found for constant in item]
    return found
