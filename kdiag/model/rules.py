"""Netfilter rules as they were printed: syntax, no meaning.

One shape for `iptables-save`, `iptables -S` and `iptables -L`. What a rule means to a packet is decided in
`kdiag.walk`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from msgspec import Struct, field

from kdiag.model.addresses import Family, Network


class Backend(enum.StrEnum):
    """Which of the kernel's two iptables implementations a rule set was read from."""

    NFT = "nft"
    LEGACY = "legacy"
    UNKNOWN = "unknown"


class Option(Struct, frozen=True, kw_only=True):
    """One option of a match or a target, e.g. `--probability 0.5` of module `statistic`.

    `name` has its dashes stripped. `negated` is True for a preceding `!`.
    """

    module: str
    name: str
    values: tuple[str, ...] = ()
    negated: bool = False

    def __str__(self) -> str:
        sign = "! " if self.negated else ""
        return f"{sign}--{self.name} {' '.join(self.values)}".rstrip()


class NetworkMatch(Struct, frozen=True, kw_only=True):
    """`-s` or `-d`: any of `networks`, or none of them if `negated`."""

    networks: tuple[Network, ...]
    negated: bool = False


class NameMatch(Struct, frozen=True, kw_only=True):
    """`-i`, `-o` or `-p`: a name (interface names may end in `+`), or any other if `negated`."""

    name: str
    negated: bool = False


class Rule(Struct, frozen=True, kw_only=True):
    """One rule.

    `protocol` is lower case and numeric protocols of the known ones are turned into names. `matches` are the
    options of all match modules in written order, but for comments; `modules` are the modules named with `-m`
    (a module without options is a match too). `target` None means that the rule decides nothing. `unknown` holds
    the words that the grammar did not understand: a rule with any is neither matched nor passed over with certainty.
    `line` is the 1-based line of the dump, `text` that line without counters.
    """

    table: str
    chain: str
    line: int
    text: str
    protocol: NameMatch | None = None
    source: NetworkMatch | None = None
    destination: NetworkMatch | None = None
    in_interface: NameMatch | None = None
    out_interface: NameMatch | None = None
    modules: tuple[str, ...] = ()
    matches: tuple[Option, ...] = ()
    target: str | None = None
    goto: bool = False
    target_options: tuple[Option, ...] = ()
    comment: str | None = None
    unknown: tuple[str, ...] = ()


class Chain(Struct, frozen=True, kw_only=True):
    """A chain. `policy` is ACCEPT or DROP for a built-in chain, None for a user chain."""

    name: str
    policy: str | None
    rules: tuple[Rule, ...]
    line: int = 0


class Table(Struct, frozen=True, kw_only=True):
    """A table and its chains by name, in printed order."""

    name: str
    chains: Mapping[str, Chain]


class UnreadLine(Struct, frozen=True, kw_only=True):
    """A line that is not in the grammar. `table` and `chain` are where it stood, as far as known."""

    line: int
    text: str
    reason: str
    table: str | None = None
    chain: str | None = None


class Ruleset(Struct, frozen=True, kw_only=True):
    """All rules of one family and backend on one node.

    `covers` names the tables that the dump would show if they had rules; None means all of them, so that a table
    that is not in `tables` is empty. `source` is the dump's path inside the snapshot. `hides_interfaces` is True for
    a listing without `-v`, which does not print `-i` and `-o`. `complete` is False if the text ended before COMMIT.
    """

    family: Family
    backend: Backend
    source: str
    tables: Mapping[str, Table]
    covers: frozenset[str] | None = None
    unread: tuple[UnreadLine, ...] = ()
    hides_interfaces: bool = False
    complete: bool = True
    version: str | None = None
    """iptables version that printed the dump, from its header."""

    def __repr__(self) -> str:
        return f"Ruleset({self.source!r}, {self.rule_count} rules)"

    def chain(self, table: str, name: str) -> Chain | None:
        """The chain, or None if the dump has no such chain."""
        found = self.tables.get(table)
        return found.chains.get(name) if found else None

    def covers_table(self, table: str) -> bool:
        """True if the dump would show the table's rules."""
        return self.covers is None or table in self.covers

    @property
    def rule_count(self) -> int:
        """Rules in all chains."""
        return sum(len(chain.rules) for table in self.tables.values() for chain in table.chains.values())


class IpSet(Struct, frozen=True, kw_only=True):
    """One `ipset save` set: its type and members as printed (read by the walker's `-m set`)."""

    name: str
    type: str
    members: frozenset[str] = field(default_factory=frozenset)
