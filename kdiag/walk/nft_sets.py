"""The sets and maps of one nftables table, ready to be asked."""

from __future__ import annotations

from collections.abc import Sequence

from kdiag.model import nft
from kdiag.walk.meaning import Surroundings
from kdiag.walk.nft_index import Index
from kdiag.walk.nft_values import Part

Held = nft.Expression | nft.Verdict | None
Elements = Index[Held]


class TableSets:
    """The named sets and maps of a table, and what its rules name in place."""

    def __init__(self, table: nft.NftTable, around: Surroundings) -> None:
        self.family = around.network.family
        self._table = table
        self._indexes: dict[tuple[str, str], Elements] = {}
        # Sets that rules write into hold clients that came before: one not seen before is in none of them.
        self.written = frozenset(
            statement.name
            for chain in table.chains.values()
            for rule in chain.rules
            for statement in rule.statements
            if isinstance(statement, nft.SetChange)
        )

    def timeout(self, name: str) -> int:
        """The seconds that an element of a set stays; 0 if it stays for good."""
        found = self._table.sets.get(name)
        return (found.timeout_s or 0) if found else 0

    def index(self, parts: tuple[Part, ...], left: nft.Expression, right: nft.Expression) -> Elements | None:
        """What `left` is looked up in; None if its elements are not known."""
        match right:
            case nft.SetReference(name=name):
                return self._named(parts, left, name)
            case nft.SetLiteral(elements=elements):
                return Index(self.family, parts, ((item, None) for item in elements))
            case nft.MapLiteral(elements=pairs):
                return Index(self.family, parts, pairs)
            case _:
                return Index(self.family, parts, ((right, None),))

    def _named(self, parts: tuple[Part, ...], left: nft.Expression, name: str) -> Elements | None:
        found = self._table.sets.get(name)
        if found is None or not found.listed:
            return None
        key = (name, repr(left))
        if key not in self._indexes:
            self._indexes[key] = Index(self.family, parts, found.elements)
        return self._indexes[key]

    def pairs(self, table: nft.SetReference | nft.MapLiteral) -> Sequence[tuple[nft.Expression, Held]] | None:
        """The elements of a map in printed order; None if they are not known."""
        if isinstance(table, nft.MapLiteral):
            return table.elements
        found = self._table.sets.get(table.name)
        return found.elements if found is not None and found.listed else None

    def words(self, right: nft.Expression) -> list[str] | None:
        """The words that a value or a set names; None if there is something else in it."""
        items: Sequence[nft.Expression] | None = (right,)
        if isinstance(right, nft.SetLiteral):
            items = right.elements
        elif isinstance(right, nft.SetReference):
            found = self.pairs(right)
            items = None if found is None else [key for key, _ in found]
        names = [item.value for item in items or () if isinstance(item, nft.Value) and isinstance(item.value, str)]
        return names if items is not None and len(names) == len(items) else None
