"""A baseline: the findings that somebody has decided to live with, for a time."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from kdiag.model.report import Finding

ANY_NODE = "*"
"""Stands in an entry for every node, and for no node in particular."""


class BaselineKey(Struct, frozen=True, kw_only=True):
    """What an entry is about. The words of a finding, its severity and its evidence are no part of it: they may change.

    None means that the finding has none; it is not a wildcard.
    """

    code: str
    node: str | None = None
    service: str | None = None
    port: str | None = None
    frontend: str | None = None

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is the one meant."""
        return (
            self.code == finding.code
            and (self.node == ANY_NODE or self.node == finding.node)
            and (self.service, self.port, self.frontend) == (finding.service, finding.port, finding.frontend)
        )

    def __str__(self) -> str:
        """`KD204 node02 default/web 80/TCP 10.96.0.10:80/TCP`: as much as there is."""
        return " ".join(part for part in (self.code, self.node, self.service, self.port, self.frontend) if part)


class BaselineEntry(Struct, frozen=True, kw_only=True):
    """One accepted finding: who lives with it, why, and the last day (UTC) on which it holds. `line` is 1-based."""

    key: BaselineKey
    reason: str
    owner: str
    expires: date
    line: int = 0

    def __str__(self) -> str:
        """`KD204 node02 default/web 80/TCP (line 12)`."""
        return f"{self.key} (line {self.line})" if self.line else str(self.key)


class BaselineUse(Struct, frozen=True, kw_only=True):
    """The baseline that a report was held against. `unneeded` are its entries that nothing answers to any more.

    An entry is not called unneeded if what it is about was not looked at, or could not be.
    """

    path: str
    unneeded: tuple[BaselineEntry, ...] = ()


class Baseline(Struct, frozen=True, kw_only=True):
    """The entries of one file, in its order. No two are about the same."""

    path: str
    entries: tuple[BaselineEntry, ...] = ()
