"""`iptables-save` and `iptables -S` output, with or without counters, as a Ruleset.

Both print rules as `-A CHAIN …`; the first has `*table`, `:CHAIN POLICY [n:m]` and `COMMIT` around them, the second
`-P CHAIN POLICY` and `-N CHAIN`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from sys import intern

from msgspec import Struct, field
from msgspec.structs import replace

from kdiag.errors import ParseError
from kdiag.model.addresses import Family
from kdiag.model.rules import Backend, Chain, Rule, Ruleset, Table, UnreadLine
from kdiag.parse.iptables_remarks import not_a_dump, read_remark
from kdiag.parse.iptables_rule import parse_rule, split_words, without_rule_counters
from kdiag.parse.iptables_shortcut import quick_rule

_TABLE = re.compile(r"\*([a-z]+)\s*")
_CHAIN = re.compile(r":(\S+) (-|[A-Z]+)(?: \[\d+:\d+\])?\s*")
_POLICY = re.compile(r"-P (\S+) ([A-Z]+)(?: -c \d+ \d+)?\s*")
_NEW_CHAIN = re.compile(r"-N (\S+)\s*")
_COUNTED = re.compile(r"\[\d+:\d+\] ?")
_RULES_KEPT = 1 << 13
"""Nodes of a cluster have many rules alike: so many of the last ones that were read are not read again."""
_DEFAULT_TABLE = "filter"
"""The table that `iptables` reads and writes without `-t` (iptables(8))."""


class _OpenChain(Struct):
    policy: str | None
    line: int
    rules: list[Rule] = field(default_factory=list)


class _Reader(Struct):
    """State while a dump is read line by line."""

    six: bool
    table: str | None
    tables: dict[str, dict[str, _OpenChain]] = field(default_factory=dict)
    unread: list[UnreadLine] = field(default_factory=list)
    backend: Backend | None = None
    version: str | None = None
    committed: bool = True
    """False between `*table` and COMMIT."""
    skipping: bool = False
    """True in a table that is shown a second time."""
    rules: int = 0
    recognised: bool = False
    """True once a line was seen that only a rule dump has."""

    def not_read(
        self, number: int, text: str, reason: str, *, table: str | None = None, chain: str | None = None
    ) -> None:
        self.unread.append(UnreadLine(line=number, text=text, reason=reason, table=table or self.table, chain=chain))

    def read(self, number: int, text: str) -> None:
        """Read one line that is not empty; `text` has no trailing white space."""
        head = text[0]
        if head == "[":
            counters = _COUNTED.match(text)
            if counters is not None:
                text = text[counters.end() :]
                head = text[:1]
        if head == "-":
            if text.startswith("-A "):
                if not self.skipping:
                    self._rule(number, text)
                return
            self._declaration(number, text)
        elif head == "#":
            self._remark(number, text)
        elif head == ":" and self.table is not None and (found := _CHAIN.fullmatch(text)):
            if not self.skipping:
                self._declare(number, self.table, found[1], None if found[2] == "-" else found[2])
        elif head == "*" and (found := _TABLE.fullmatch(text)):
            self._begin(number, text, found[1])
        elif text == "COMMIT":
            self.recognised = True
            if not self.committed:
                self.table = None
            self.committed = True
            self.skipping = False
        elif not self._remark(number, text):
            self.not_read(number, text, "not a line of a rule dump")

    def _begin(self, number: int, text: str, table: str) -> None:
        self.recognised = True
        self.table = intern(table)
        self.committed = False
        self.skipping = table in self.tables
        if self.skipping:
            self.not_read(number, text, f"table {table} is shown a second time; this copy is not read")
        else:
            self.tables[table] = {}

    def _declaration(self, number: int, text: str) -> None:
        """`-P` or `-N` of `iptables -S`."""
        found = _POLICY.fullmatch(text) or _NEW_CHAIN.fullmatch(text)
        if found is None:
            words = text.split()
            chain = words[1] if len(words) > 1 and words[0] in ("-I", "-D", "-R") else None
            self.not_read(number, text, "not a line of a rule dump", chain=chain)
            return
        if self.table is None:
            self.table = _DEFAULT_TABLE
        self._declare(number, self.table, found[1], found[2] if found.re is _POLICY else None)

    def _declare(self, number: int, table: str, chain: str, policy: str | None) -> None:
        self.recognised = True
        chains = self.tables.setdefault(table, {})
        if chain not in chains:
            chains[intern(chain)] = _OpenChain(intern(policy) if policy else None, number)

    def _rule(self, number: int, text: str) -> None:
        self.recognised = True
        if self.table is None:
            self.not_read(number, text, "a rule outside any table", chain=intern(text.split(None, 2)[1]))
            return
        try:
            rule = replace(_rule_of(text, self.six, self.table), line=number)
        except ParseError as error:
            self.not_read(number, text, error.message, chain=intern(text.split(None, 2)[1]))
            return
        chains = self.tables.setdefault(rule.table, {})
        holder = chains.get(rule.chain)
        if holder is None:
            holder = chains[rule.chain] = _OpenChain(None, number)
        holder.rules.append(rule)

    def _remark(self, number: int, text: str) -> bool:
        remark = read_remark(text)
        if remark is None:
            return False
        self.backend = self.backend or remark.backend
        self.version = self.version or remark.version
        if (table := remark.hidden_table) is not None:
            self.recognised = True
            self.not_read(number, text, f"iptables cannot show table {table}; nft can", table=table)
        return True

    def finish(self, *, ends_open: bool, last: tuple[int, str] | None) -> None:
        """Take back the last line of a text that was cut off inside it."""
        if self.committed or not ends_open or last is None or self.table is None:
            return
        number, text = last
        for name, chain in self.tables.get(self.table, {}).items():
            if chain.rules and chain.rules[-1].line == number:
                chain.rules.pop()
                self.not_read(number, text, "the text is cut off in this line", chain=name)
                return


def read_rule(text: str, *, family: Family, table: str, line: int) -> Rule | None:
    """The rule that one line of a table's holds; None if it is no rule or cannot be read."""
    text = text.strip()
    if not text.startswith("-A "):
        return None
    try:
        return _new_rule(text, six=family is Family.IPV6, table=table, line=line)
    except ParseError:
        return None


@lru_cache(maxsize=_RULES_KEPT)
def _rule_of(text: str, six: bool, table: str) -> Rule:
    """The rule of an `-A` line, but for the line's number. Raises ParseError if a quote is left open."""
    return _new_rule(text, six=six, table=table, line=0)


def _new_rule(text: str, *, six: bool, table: str, line: int) -> Rule:
    rule = quick_rule(text, six=six, table=table, line=line)
    if rule is None:
        _, chain, *rest = text.split(None, 2)
        words = split_words(rest[0]) if rest else []
        if "-c" in words:
            text = without_rule_counters(text)
        rule = parse_rule(text, words, six=six, table=table, chain=intern(chain), line=line)
    return rule


def parse_iptables_save(
    text: str,
    *,
    family: Family,
    backend: Backend = Backend.UNKNOWN,
    source: str,
    covers: frozenset[str] | None = None,
    table: str | None = None,
) -> Ruleset:
    """Read what `iptables-save` (any tables, with or without `-c`) or `iptables -S` (with or without `-v`) printed.

    `family` is the command's; `source` is the dump's path inside the snapshot. `backend` is used where the header does
    not tell it. `covers` names the tables that the command was asked for, None for all. `table` is the one that `-S`
    was asked for (its output does not say); it then is what the dump covers, unless `covers` is given. Without it, the
    output of `-S` is taken for table filter, as iptables does, and bare `-A` lines are unread.

    Empty text is an empty rule set. A line that is not in the grammar becomes an UnreadLine, with its table and chain
    as far as they are known; a rule that is cut off by the end of the text does too. Raises ParseError only if the text
    is no rule dump at all (an error message, binary data).
    """
    lines = text.removeprefix("\ufeff").split("\n")
    return parse_lines(
        enumerate(lines, start=1),
        family=family,
        backend=backend,
        source=source,
        covers=covers,
        table=table,
        ends_open=bool(lines[-1].strip()),
    )


def parse_lines(
    lines: Iterable[tuple[int, str]],
    *,
    family: Family,
    backend: Backend = Backend.UNKNOWN,
    source: str,
    covers: frozenset[str] | None = None,
    table: str | None = None,
    ends_open: bool = False,
) -> Ruleset:
    """Like parse_iptables_save, for some of a dump's lines with their numbers. `ends_open` says that the text ends inside
    the last one."""
    reader = _Reader(six=family is Family.IPV6, table=table)
    last: tuple[int, str] | None = None
    for number, raw in lines:
        line = raw.strip()
        if line:
            reader.read(number, line)
            last = (number, line)
    if reader.unread and not reader.recognised:
        raise not_a_dump(reader.unread[0], "iptables-save or iptables -S")
    reader.finish(ends_open=ends_open, last=last)
    if covers is None and table is not None:
        covers = frozenset((table,))
    return Ruleset(
        family=family,
        backend=reader.backend or backend,
        source=source,
        tables={name: _table(name, chains) for name, chains in reader.tables.items()},
        covers=covers,
        unread=tuple(sorted(reader.unread, key=lambda unread: unread.line)),
        complete=reader.committed,
        version=reader.version,
    )


def _table(name: str, chains: dict[str, _OpenChain]) -> Table:
    return Table(
        name=name,
        chains={
            chain: Chain(name=chain, policy=found.policy, rules=tuple(found.rules), line=found.line)
            for chain, found in chains.items()
        },
    )
