"""`nft -j list ruleset` as an NftRuleset (libnftables-json(5); nft 1.0.1 to 1.1)."""

from __future__ import annotations

from collections.abc import Iterable
from sys import intern

import msgspec

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
    UnknownStatement,
    Verdict,
)
from kdiag.parse.nft_json_expressions import ExpressionReader, Strange, words_of
from kdiag.parse.nft_json_statements import StatementReader
from kdiag.parse.nft_words import Hint, data_type, key_types, priority_number

_HINT = "Record the output of `nft -j list ruleset` as it is, without cutting it."
_IGNORED = frozenset(
    {
        "metainfo",
        "flush",
        "counter",
        "quota",
        "limit",
        "ct helper",
        "ct timeout",
        "ct expectation",
        "flowtable",
        "synproxy",
        "secmark",
        "tunnel",
    }
)
"""Objects that take no packet by themselves."""
_TABLE_FLAGS = frozenset({"dormant", "owner", "persist"})


class _Document(msgspec.Struct):
    nftables: list[msgspec.Raw]


class _Table(msgspec.Struct):
    family: str
    name: str
    flags: str | list[str] = []


class _Chain(msgspec.Struct):
    family: str
    table: str
    name: str
    type: str | None = None
    hook: str | None = None
    prio: int | str | None = None
    policy: str | None = None


class _Rule(msgspec.Struct):
    family: str
    table: str
    chain: str
    expr: list[msgspec.Raw] = []
    handle: int | None = None
    comment: str | None = None


class _RuleHead(msgspec.Struct):
    """What must be known of a rule to say where something stands that could not be read."""

    family: str
    table: str
    chain: str


class _Set(msgspec.Struct):
    family: str
    table: str
    name: str
    type: object = None
    map: object = None
    flags: str | list[str] = []
    elem: list[object] | None = None
    timeout: int | None = None


class _Item(msgspec.Struct):
    rule: _Rule | None = None
    chain: _Chain | None = None
    set: _Set | None = None
    map: _Set | None = None
    table: _Table | None = None


class _BrokenRule(msgspec.Struct):
    rule: _RuleHead


class _Metainfo(msgspec.Struct):
    version: str | None = None


class _First(msgspec.Struct):
    metainfo: _Metainfo


_document = msgspec.json.Decoder(_Document)
_item = msgspec.json.Decoder(_Item)
_broken_rule = msgspec.json.Decoder(_BrokenRule)
_first = msgspec.json.Decoder(_First)
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _OpenChain(msgspec.Struct):
    line: int
    hook: Hook | None = None
    policy: str | None = None
    rules: list[NftRule] = msgspec.field(default_factory=list)


class _OpenTable(msgspec.Struct):
    line: int
    statements: StatementReader
    flags: frozenset[str] = frozenset()
    chains: dict[str, _OpenChain] = msgspec.field(default_factory=dict)
    sets: dict[str, NftSet] = msgspec.field(default_factory=dict)

    def chain(self, name: str, line: int) -> _OpenChain:
        """The chain of that name, made here if the document has not shown it."""
        found = self.chains.get(name)
        if found is None:
            found = self.chains[intern(name)] = _OpenChain(line)
        return found


class _Reader(msgspec.Struct):
    expressions: ExpressionReader = msgspec.field(default_factory=ExpressionReader)
    statements: dict[str, StatementReader] = msgspec.field(default_factory=dict)
    tables: dict[tuple[str, str], _OpenTable] = msgspec.field(default_factory=dict)
    unread: list[NftUnread] = msgspec.field(default_factory=list)
    version: str | None = None

    def table(self, family: str, name: str, line: int) -> _OpenTable:
        found = self.tables.get((family, name))
        if found is None:
            reader = self.statements.get(family)
            if reader is None:
                reader = self.statements[family] = StatementReader(self.expressions, family)
            found = self.tables[intern(family), intern(name)] = _OpenTable(line, reader)
        return found

    def read(self, raw: bytes | msgspec.Raw, line: int) -> None:
        """Read one object of the list."""
        try:
            item = _item.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            self._strange(raw, line)
            return
        if item.rule is not None:
            self._rule(item.rule, line)
        elif item.chain is not None:
            self._chain(item.chain, raw, line)
        elif item.set is not None:
            self._set(item.set, raw, line, pairs=False)
        elif item.map is not None:
            self._set(item.map, raw, line, pairs=True)
        elif item.table is not None:
            self._table(item.table, raw, line)
        else:
            self._other(raw, line)

    def _not_read(self, raw: bytes | msgspec.Raw, line: int, reason: str) -> None:
        self.unread.append(NftUnread(line=line, text=bytes(raw).decode(errors="replace"), reason=reason))

    def _strange(self, raw: bytes | msgspec.Raw, line: int) -> None:
        """An object of a known kind but not of its shape; a rule still holds its place in its chain."""
        try:
            head = _broken_rule.decode(raw).rule
        except (msgspec.DecodeError, RecursionError):
            self._not_read(raw, line, "not an object of the grammar")
            return
        text = bytes(raw).decode(errors="replace")
        rule = NftRule(chain=intern(head.chain), line=line, text=text, statements=(UnknownStatement(text),))
        self.table(head.family, head.table, line).chain(head.chain, line).rules.append(rule)

    def _other(self, raw: bytes | msgspec.Raw, line: int) -> None:
        kinds = _keys.decode(raw).keys()
        if kinds == {"metainfo"}:
            try:
                self.version = _first.decode(raw).metainfo.version or self.version
            except msgspec.DecodeError:
                self._not_read(raw, line, "not an object of the grammar")
        elif len(kinds) != 1 or not kinds <= _IGNORED:
            self._not_read(raw, line, "not an object of the grammar")

    def _table(self, item: _Table, raw: bytes | msgspec.Raw, line: int) -> None:
        table = self.table(item.family, item.name, line)
        table.flags = frozenset(words_of(item.flags))
        if not table.flags <= _TABLE_FLAGS:
            # nft 1.0.6 prints the table's name where the flags should stand.
            self._not_read(raw, line, f"table {item.family} {item.name} has flags that cannot be read")

    def _chain(self, item: _Chain, raw: bytes | msgspec.Raw, line: int) -> None:
        chain = self.table(item.family, item.table, line).chain(item.name, line)
        if item.hook is None:
            return
        priority = item.prio if isinstance(item.prio, int) else priority_number(item.prio or "0", item.family)
        if priority is None:
            self._not_read(raw, line, "not a priority")
            priority = 0
        chain.hook = Hook(type=item.type or "filter", hook=item.hook.lower(), priority=priority)
        chain.policy = item.policy or "accept"

    def _rule(self, item: _Rule, line: int) -> None:
        table = self.table(item.family, item.table, line)
        chain = table.chain(item.chain, line)
        read = table.statements.read
        parts = [read(bytes(raw)) for raw in item.expr]
        chain.rules.append(
            NftRule(
                chain=intern(item.chain),
                line=line,
                text=" ".join([text for _, text in parts]),
                statements=tuple([statement for statement, _ in parts]),
                comment=item.comment,
                handle=item.handle,
            )
        )

    def _set(self, item: _Set, raw: bytes | msgspec.Raw, line: int, *, pairs: bool) -> None:
        table = self.table(item.family, item.table, line)
        try:
            hint = self._type(item.type)
            value_hint = self._type(item.map) if pairs else None
        except Strange:
            self._not_read(raw, line, "a set of unknown type")
            hint = value_hint = None
        elements: tuple[tuple[Expression, Expression | Verdict | None], ...] = ()
        comments: dict[Expression, str] = {}
        if item.elem:
            elements, comments = self.expressions.elements(item.elem, hint, value_hint, pairs=pairs)
        flags = frozenset(words_of(item.flags))
        table.sets[intern(item.name)] = NftSet(
            name=intern(item.name),
            key_types=key_types(hint),
            value_type=" . ".join(key_types(value_hint)) if pairs else None,
            elements=elements,
            flags=flags | {"timeout"} if item.timeout is not None else flags,
            timeout_s=item.timeout,
            line=line,
            comments=comments,
        )

    def _type(self, node: object) -> Hint:
        """The type of a key or value: a name, names with dots between them, a list of names, or `typeof`."""
        if isinstance(node, dict) and len(node) == 1 and "typeof" in node:
            return data_type(self.expressions.read(node["typeof"]))
        names = tuple(name for word in words_of(node) for name in word.split(" . "))
        return names if len(names) > 1 else names[0] if names else None

    def finish(self, source: str) -> NftRuleset:
        return NftRuleset(
            source=source,
            tables=tuple(
                NftTable(
                    family=family,
                    name=name,
                    chains={
                        chain_name: NftChain(
                            name=chain_name,
                            rules=tuple(chain.rules),
                            hook=chain.hook,
                            policy=chain.policy,
                            line=chain.line,
                        )
                        for chain_name, chain in table.chains.items()
                    },
                    sets=table.sets,
                    flags=table.flags,
                    line=table.line,
                )
                for (family, name), table in self.tables.items()
            ),
            unread=tuple(self.unread),
            version=self.version,
        )


def parse_nft_json(text: str | bytes, source: str) -> NftRuleset:
    """Everything in the output of `nft -j list ruleset`, also with `-a`, `-n`, `-S` or `-s`.

    Unknown expressions and statements stay in their rule as such, unknown objects are in `unread`. Lines are those of
    the document, which nft prints as one line. Raises ParseError for what is no such document; a document that was cut
    off is none. A set's elements are complete as printed: whether `-t` left them out cannot be seen.
    """
    # Names and comments may hold any bytes; those that are no UTF-8 must not stop the reader of a part it had put off.
    whole = text if isinstance(text, str) else text.decode(errors="replace")
    data = whole.encode(errors="replace")
    data = data.removeprefix(b"\xef\xbb\xbf").strip()
    line = 1 + _lines_before(text)
    if not data:
        raise ParseError(f"{source} is empty", hint=_HINT)
    try:
        document = _document.decode(data)
    except msgspec.ValidationError:
        raise ParseError(f"{source} is not a list of nftables objects", hint=_HINT) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError(f"{source} is not valid JSON: {error}", hint=_HINT) from None
    reader = _Reader()
    if data.count(b"\n") == 0:
        for raw in document.nftables:
            reader.read(raw, line)
    else:
        position = 0
        for raw in document.nftables:
            found = data.find(raw, position)
            line += data.count(b"\n", position, found)
            reader.read(raw, line)
            position = found
    return reader.finish(source)


def parse_objects(objects: Iterable[bytes | msgspec.Raw], line: int, source: str) -> NftRuleset:
    """Some of the objects of such a list, all of them on one line of the document."""
    reader = _Reader()
    for raw in objects:
        reader.read(raw, line)
    return reader.finish(source)


def _lines_before(text: str | bytes) -> int:
    head = text[: len(text) - len(text.lstrip())]
    return head.count("\n") if isinstance(head, str) else head.count(b"\n")
