"""`nft list ruleset` as an NftRuleset (nft(8); nft 1.0.1 to 1.1)."""

from __future__ import annotations

import re
from sys import intern

from msgspec import Struct, field

from kdiag.errors import ParseError
from kdiag.model.nft import (
    Expression,
    Hook,
    NftChain,
    NftRule,
    NftRuleset,
    NftSet,
    NftTable,
    NftUnread,
    UnknownExpression,
    Verdict,
)
from kdiag.parse.nft_text_expressions import Cursor, Unclear, expression, literal, mapped, unquoted
from kdiag.parse.nft_text_rule import parse_statements
from kdiag.parse.nft_words import Hint, data_type, key_types, priority_number, seconds

_HANDLE = re.compile(r"\s*# handle ([0-9]{1,18})$")
_COMMENT = re.compile(r'(?:^|\s+)comment "([^"]*)"$')
_TABLE = re.compile(r"table (?:(ip|ip6|inet|arp|bridge|netdev) )?(\S+) \{")
_BLOCK = re.compile(r"([a-z]+(?: [a-z]+)?) (\S+) \{")
_HOOK = re.compile(r"type (\w+) hook (\w+)(?: device \S+| devices = \{[^}]*\})* priority ([^;]+);(?: policy (\w+);)?")
_QUOTED = re.compile(r'"[^"]*"')
_HINT = "Record the output of `nft list ruleset` as it is."


class _OpenChain(Struct):
    line: int
    hook: Hook | None = None
    policy: str | None = None
    rules: list[NftRule] = field(default_factory=list)


class _OpenSet(Struct):
    line: int
    is_map: bool
    key_hint: Hint = None
    value_hint: Hint = None
    elements: list[tuple[Expression, Expression | Verdict | None]] = field(default_factory=list)
    comments: dict[Expression, str] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    timeout_s: int | None = None


class _OpenTable(Struct):
    family: str
    name: str
    line: int
    flags: frozenset[str] = frozenset()
    chains: dict[str, _OpenChain] = field(default_factory=dict)
    sets: dict[str, _OpenSet] = field(default_factory=dict)


class _Reader(Struct):
    """State while a listing is read line by line."""

    tables: list[_OpenTable] = field(default_factory=list)
    unread: list[NftUnread] = field(default_factory=list)
    table: _OpenTable | None = None
    chain: tuple[str, _OpenChain] | None = None
    set: _OpenSet | None = None
    skipped: int = 0
    """Open braces of a block that is not read."""
    pending: str = ""
    """Lines of something that goes over several lines, so far."""
    pending_line: int = 0

    @property
    def complete(self) -> bool:
        return self.table is None and not self.pending and not self.skipped

    def read(self, number: int, text: str) -> None:
        """Read one line without the white space around it."""
        if self.pending:
            text, number = f"{self.pending} {text}", self.pending_line
            self.pending = ""
        if not text or (text.startswith("#") and not text.startswith("# xt_")):
            return
        if self.skipped:
            self.skipped = max(0, self.skipped + _depth(text))
        elif self.table is None:
            self._outside(number, text)
        elif (self.chain or self.set) and _depth(text) > 0:
            self.pending, self.pending_line = text, number
        elif self.chain:
            self._in_chain(number, text, self.table, *self.chain)
        elif self.set:
            self._in_set(number, text, self.set)
        else:
            self._in_table(number, text, self.table)

    def not_read(self, number: int, text: str, reason: str) -> None:
        self.unread.append(NftUnread(line=number, text=text, reason=reason))

    def _outside(self, number: int, text: str) -> None:
        found = _TABLE.match(text)
        if found is None:
            self.not_read(number, text, "not a line of a rule set")
            self.skipped = max(0, _depth(text))
            return
        family, name = found[1] or "ip", unquoted(found[2])
        if any(table.family == family and table.name == name for table in self.tables):
            self.not_read(number, text, f"table {family} {name} is shown a second time; this copy is not read")
            self.skipped = max(0, _depth(text))
            return
        table = _OpenTable(intern(family), intern(name), number)
        self.tables.append(table)
        self.table = table if _depth(text) > 0 else None

    def _in_table(self, number: int, text: str, table: _OpenTable) -> None:
        if text == "}":
            self.table = None
            return
        text = _HANDLE.sub("", text)
        found = _BLOCK.match(text)
        if found is None:
            if text.startswith("flags "):
                table.flags = _flags(text)
            elif not text.startswith("comment "):
                self.not_read(number, text, "not a line of a table")
            return
        kind, name = found[1], intern(unquoted(found[2]))
        closed = _depth(text) <= 0
        if kind == "chain":
            chain = table.chains.setdefault(name, _OpenChain(number))
            self.chain = None if closed else (name, chain)
        elif kind in ("set", "map", "meter"):
            made = table.sets[name] = _OpenSet(number, kind == "map")
            self.set = None if closed else made
        else:  # counters, quotas, limits, helpers, flow tables: they take no packet by themselves
            self.skipped = max(0, _depth(text))

    def _in_chain(self, number: int, text: str, table: _OpenTable, name: str, chain: _OpenChain) -> None:
        if text == "}":
            self.chain = None
            return
        if text.startswith("type ") and " hook " in text and self._hook(number, text, table, chain):
            return
        handle = _HANDLE.search(text)
        if handle:
            text = text[: handle.start()]
        comment = _COMMENT.search(text)
        if comment:
            text = text[: comment.start()]
        if not text:
            return  # the chain's own comment
        chain.rules.append(
            NftRule(
                chain=name,
                line=number,
                text=text,
                statements=parse_statements(text, table.family),
                comment=comment[1] if comment else None,
                handle=int(handle[1]) if handle else None,
            )
        )

    def _hook(self, number: int, text: str, table: _OpenTable, chain: _OpenChain) -> bool:
        found = _HOOK.fullmatch(text)
        if found is None:
            return False
        priority = priority_number(found[3], table.family)
        if priority is None:
            self.not_read(number, text, "not a priority")
        chain.hook = Hook(type=found[1], hook=found[2].lower(), priority=priority or 0)
        chain.policy = found[4] or "accept"
        return True

    def _in_set(self, number: int, text: str, made: _OpenSet) -> None:
        if text == "}":
            self.set = None
            return
        head, _, rest = text.partition(" ")
        try:
            if head == "type":
                made.key_hint, made.value_hint = _types(rest)
            elif head == "typeof":
                made.key_hint, made.value_hint = _types_of(rest)
            elif head == "flags":
                made.flags |= _flags(text)
            elif head == "timeout":
                made.timeout_s = seconds(rest)
                made.flags |= {"timeout"}
            elif head == "elements":
                _elements(Cursor.of(rest), made)
            elif head not in ("size", "comment", "gc-interval", "policy", "auto-merge", "counter", "limit", "quota"):
                self.not_read(number, text, "not a line of a set")
        except (Unclear, RecursionError):
            self.not_read(number, text, "not a line of a set")

    def finish(self, source: str) -> NftRuleset:
        return NftRuleset(
            source=source,
            tables=tuple(_table(table) for table in self.tables),
            unread=tuple(self.unread),
            complete=self.complete,
        )


def parse_nft_text(text: str, source: str) -> NftRuleset:
    """Everything in the output of `nft list ruleset`, also with `-a`, `-n`, `-S` or `-s`; nothing for an empty one.

    Unknown statements stay in their rule as such, unknown lines are in `unread`. A listing that was cut off is not
    `complete`, and its last line is left out if it may have been cut too. Raises ParseError for text that has no
    table in it but something else.
    """
    lines = text.split("\n")
    reader = _Reader()
    cut = lines.pop()  # empty if the text ends with a line end
    for number, line in enumerate(lines, 1):
        reader.read(number, line.strip())
    cut = cut.strip()
    if cut == "}" or (cut and reader.table is None):
        reader.read(len(lines) + 1, cut)
    elif cut:
        reader.not_read(len(lines) + 1, cut, "the text ends within this line")
    if reader.unread and not reader.tables:
        raise ParseError(
            f"{source} is not a listing of nftables rules: {reader.unread[0].text[:80]}",
            hint=_HINT,
            line=reader.unread[0].line,
        )
    if reader.pending:
        reader.not_read(reader.pending_line, reader.pending, "the text ends within this line")
    return reader.finish(source)


def _depth(text: str) -> int:
    """How many more braces a line opens than it closes."""
    if '"' in text:
        text = _QUOTED.sub("", text)
    return text.count("{") - text.count("}")


def _flags(text: str) -> frozenset[str]:
    """The words of a `flags` line of a table or a set."""
    return frozenset(re.split(r"[,;\s]+", text.removeprefix("flags ").strip("; ")))


def _types(text: str) -> tuple[Hint, Hint]:
    """`ipv4_addr . inet_service : verdict`."""
    key, _, value = text.partition(" : ")
    return _names(key), _names(value)


def _names(text: str) -> Hint:
    names = tuple(text.split(" . "))
    return names if len(names) > 1 else names[0] or None


def _types_of(text: str) -> tuple[Hint, Hint]:
    """`ip saddr . tcp dport : verdict`, after `typeof`."""
    key, _, value = text.partition(" : ")
    value_hint: Hint = value if value == "verdict" or not value else _named(data_type(expression(Cursor.of(value))))
    return _named(data_type(expression(Cursor.of(key)))), value_hint


def _named(hint: Hint) -> Hint:
    names = key_types(hint)
    return names if len(names) > 1 else names[0]


def _elements(cursor: Cursor, made: _OpenSet) -> None:
    """`= { KEY [timeout …] [comment "…"] [: VALUE], … }`."""
    cursor.expect("=")
    cursor.expect("{")
    while not cursor.take("}"):
        start = cursor.position
        try:
            _element(cursor, made)
        except Unclear:
            cursor.position = start + 1
            while cursor.peek() not in (",", "}", ""):
                cursor.position += 1
            unknown = UnknownExpression(" ".join(cursor.words[start : cursor.position]))
            made.elements.append((unknown, unknown if made.is_map else None))
        if not cursor.take(","):
            cursor.expect("}")
            return


def _element(cursor: Cursor, made: _OpenSet) -> None:
    key = literal(cursor, made.key_hint)
    value: Expression | Verdict | None = None
    comment = None
    while cursor.peek() not in (",", "}"):
        if cursor.take(":"):
            value = mapped(cursor, made.value_hint)
        elif cursor.take("comment"):
            comment = unquoted(cursor.next())
        else:
            cursor.next()  # timeout, expires, counter, limit: they are the element's own
    if made.is_map and value is None:
        raise Unclear
    made.elements.append((key, value))
    if comment is not None:
        made.comments[key] = comment


def _table(table: _OpenTable) -> NftTable:
    return NftTable(
        family=table.family,
        name=table.name,
        chains={
            name: NftChain(name=name, rules=tuple(chain.rules), hook=chain.hook, policy=chain.policy, line=chain.line)
            for name, chain in table.chains.items()
        },
        sets={
            name: NftSet(
                name=name,
                key_types=key_types(made.key_hint),
                value_type=" . ".join(key_types(made.value_hint)) if made.is_map else None,
                elements=tuple(made.elements),
                flags=made.flags,
                timeout_s=made.timeout_s,
                line=made.line,
                comments=made.comments,
            )
            for name, made in table.sets.items()
        },
        flags=table.flags,
        line=table.line,
    )
