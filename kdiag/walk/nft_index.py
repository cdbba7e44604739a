"""Sets and maps of nftables made ready for look-ups: what has this key?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from msgspec import Struct

from kdiag.model import nft
from kdiag.model.addresses import AddressSet, Family
from kdiag.walk.flow import Flow
from kdiag.walk.nft_values import Constant, FieldValue, Lack, Part, holds

Held = TypeVar("Held")


class Hit(Struct, Generic[Held], frozen=True):
    """An element that has a flow's key, and for which of its sources (None: all of them). Unless `certain` it may not."""

    key: nft.Expression
    held: Held
    sources: AddressSet | None
    certain: bool = True


class Index(Generic[Held]):
    """The elements of a set or map by the parts of their keys.

    Elements whose parts are all single values are looked up; those with ranges are tried one by one. `*` has every key
    that no other element has. An element that is not understood may have any key: `vague` is True, and a look-up that
    finds nothing is then not certain.
    """

    def __init__(
        self, family: Family, parts: tuple[Part, ...], elements: Iterable[tuple[nft.Expression, Held]]
    ) -> None:
        self._family = family
        self._reads = [part.read for part in parts if part.read is not None]
        self._source_at = next((at for at, part in enumerate(parts) if part.read is None), None)
        self._exact: dict[tuple[FieldValue, ...], list[Hit[Held]]] = {}
        self._ranged: list[tuple[tuple[Constant, ...], Hit[Held]]] = []
        self._default: Hit[Held] | None = None
        self.vague = False
        for key, held in elements:
            self._add(parts, key, held)

    def _add(self, parts: tuple[Part, ...], key: nft.Expression, held: Held) -> None:
        if key == nft.Wildcard():
            self._default = Hit(key, held, None)
            return
        pieces = key.parts if isinstance(key, nft.Concat) else (key,)
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
        hit = Hit(key, held, sources)
        single = tuple(_single(item) for item in constants)
        if None not in single:
            self._exact.setdefault(tuple(item for item in single if item is not None), []).append(hit)
            return
        self._ranged += [(combination, hit) for combination in _combinations(constants)]

    def is_absent(self, flow: Flow) -> bool:
        """True if the packet lacks a field that the key is made of: then the rule ends here."""
        return any(read(flow) is Lack.ABSENT for read in self._reads)

    def find(self, flow: Flow) -> list[Hit[Held]] | None:
        """The elements that have the flow's key; None where this cannot be told."""
        hits = self._hits(flow)
        if hits is None or self._source_at is None or flow.rewritten is None:
            return hits
        if not flow.rewritten:
            return None if hits else []
        # Which of these addresses the source has become is not known: it can be told if it does not matter.
        touched = [hit for hit in hits if hit.sources is None or hit.sources & flow.rewritten]
        if not touched:
            return []
        first = touched[0]
        if len(touched) > 1:
            return None
        certain = first.sources is None or not flow.rewritten - first.sources
        return [Hit(first.key, first.held, None, certain)]

    def _hits(self, flow: Flow) -> list[Hit[Held]] | None:
        """The elements that have the flow's key for some source, whatever has become of it."""
        values = tuple(read(flow) for read in self._reads)
        if Lack.ABSENT in values:
            return []
        if Lack.UNKNOWN in values:
            return None if self._exact or self._ranged or self._default or self.vague else []
        hits = list(self._exact.get(values, ()))
        for constants, hit in self._ranged:
            if all(
                holds(value, constant)
                for value, constant in zip(values, constants, strict=True)
                if not isinstance(value, Lack)
            ):
                hits.append(hit)
        if self.vague and (not hits or self._source_at is not None):
            return None
        if self._default is not None:
            rest = None if self._source_at is None else self._joined(hits).complement()
            if not hits or rest:
                hits.append(Hit(self._default.key, self._default.held, rest))
        return hits

    def sources_of(self, flow: Flow) -> AddressSet | None:
        """Of a key with a source in it: the sources with which the flow is in the set; None where this cannot be told."""
        hits = self._hits(flow)
        return None if hits is None else self._joined(hits)

    def everything(self) -> AddressSet:
        """All sources that any element names, for a key that is the source alone."""
        if self._default is not None:
            return AddressSet.everything(self._family)
        return self._joined(hit for hits in self._exact.values() for hit in hits)

    def _joined(self, hits: Iterable[Hit[Held]]) -> AddressSet:
        found = AddressSet.nothing(self._family)
        for hit in hits:
            if hit.sources is not None:
                found = found | hit.sources
        return found

    @property
    def asks_source(self) -> bool:
        """True if the source address is a part of the key."""
        return self._source_at is not None


def _single(constants: tuple[Constant, ...]) -> FieldValue | None:
    if len(constants) != 1:
        return None
    (constant,) = constants
    if isinstance(constant, str):
        return None if constant.endswith("*") else constant
    return constant[0] if constant[0] == constant[1] else None


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
