"""Expressions of `nft -j` (libnftables-json(5), "EXPRESSIONS") as expressions of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from kdiag.model.nft import (
    Binary,
    Concat,
    Ct,
    Expression,
    Fib,
    MapLiteral,
    MapLookup,
    Meta,
    Numgen,
    Payload,
    Prefix,
    SetLiteral,
    SetReference,
    Span,
    UnknownExpression,
    Value,
    Verdict,
    Wildcard,
)
from kdiag.parse.nft_print import print_expression
from kdiag.parse.nft_words import Hint, data_type, worded

Elements = tuple[tuple[tuple[Expression, Expression | Verdict | None], ...], dict[Expression, str]]


class Strange(Exception):  # noqa: N818 - not an error: the caller falls back to "unknown"
    """Part of a document that is not shaped as the grammar has it."""


class _Scalars(dict[str | int, Expression]):
    """Words and numbers of one data type as expressions: there are few of them, and each occurs often."""

    def __init__(self, hint: Hint) -> None:
        super().__init__()
        self._hint = hint

    def __missing__(self, key: str | int) -> Expression:
        made: Expression
        if key == "*":
            made = Wildcard()
        elif isinstance(key, str) and key[:1] == "@":
            made = SetReference(key[1:])
        else:
            made = Value(worded(self._hint, key))
        self[key] = made
        return made


class ExpressionReader:
    """Reads expressions; remembers the literals it has made."""

    def __init__(self) -> None:
        self._scalars: dict[Hint, _Scalars] = {}
        self._readers: dict[Hint, Callable[[object], Expression]] = {}
        self._kinds: dict[str, Callable[[object, Hint], Expression]] = {
            "payload": _payload,
            "meta": lambda body, _: Meta(text_of(body, "key")),
            "ct": _ct,
            "fib": _fib,
            "numgen": _numgen,
            "prefix": _prefix,
            "concat": self._concat,
            "range": self._span,
            "set": self._set,
            "map": self._lookup,
            "elem": lambda body, hint: self.read(member(body, "val"), hint),
            "tcp option": lambda body, _: _option("tcp option", body),
            "ip option": lambda body, _: _option("ip option", body),
            "exthdr": lambda body, _: _option("" if "field" in fields_of(body) else "exthdr", body),
            "rt": _rt,
            "socket": lambda body, _: UnknownExpression(f"socket {text_of(body, 'key')}"),
            "jhash": self._hash("jhash"),
            "symhash": self._hash("symhash"),
            **{sign: self._binary(sign) for sign in ("&", "|", "^", "<<", ">>")},
        }

    def read(self, node: object, hint: Hint = None) -> Expression:
        """One expression; `hint` is the data type of what it is compared with or assigned to."""
        kind = type(node)
        if kind is str or kind is int:
            return self.scalars(hint)[node]  # type: ignore[index]
        if kind is bool:
            return Value("exists" if node else "missing")
        if kind is list and node:
            return SetLiteral(tuple(self.read(part, hint) for part in sequence(node)))
        if kind is dict and len(node) == 1:  # type: ignore[arg-type]
            [(name, body)] = node.items()  # type: ignore[attr-defined]
            reader = self._kinds.get(name)
            if reader is not None:
                try:
                    return reader(body, hint)
                except Strange:
                    pass
        return UnknownExpression(as_json(node))

    def scalars(self, hint: Hint) -> _Scalars:
        """The literals of one data type."""
        found = self._scalars.get(hint)
        if found is None:
            found = self._scalars[hint] = _Scalars(hint)
        return found

    def table(self, data: object, hint: Hint, value_hint: Hint = None) -> SetReference | MapLiteral:
        """What stands behind `map` or `vmap`: a reference or a literal."""
        if isinstance(data, str) and data[:1] == "@":
            return SetReference(data[1:])
        read, read_value = self._reader(hint), self._reader(value_hint)
        pairs = []
        for pair in sequence(member(data, "set")):
            key, value = self._pair(pair)
            pairs.append((read(key), verdict(value) or read_value(value)))
        return MapLiteral(tuple(pairs))

    def elements(self, nodes: Sequence[object], hint: Hint, value_hint: Hint, *, pairs: bool) -> Elements:
        """The elements of a named set or map (`pairs`) and the comments that some have."""
        read, read_value = self._reader(hint), self._reader(value_hint)
        made: list[tuple[Expression, Expression | Verdict | None]] = []
        comments: dict[Expression, str] = {}
        for node in nodes:
            key: object
            value: Expression | Verdict | None = None
            if pairs:
                try:
                    key, value_node = self._pair(node)
                except Strange:
                    unknown = UnknownExpression(as_json(node))
                    made.append((unknown, unknown))
                    continue
                value = verdict(value_node) or read_value(value_node)
            else:
                key = node
            remark = None
            if type(key) is dict and "elem" in key and isinstance(inner := key["elem"], dict) and "val" in inner:
                remark, key = inner.get("comment"), inner["val"]
            expression = read(key)
            made.append((expression, value))
            if isinstance(remark, str):
                comments[expression] = remark
        return tuple(made), comments

    def _reader(self, hint: Hint) -> Callable[[object], Expression]:
        """A reader for expressions of one type."""
        found = self._readers.get(hint)
        if found is None:
            found = self._readers[hint] = self._make_reader(hint)
        return found

    def _make_reader(self, hint: Hint) -> Callable[[object], Expression]:
        """Reads a concatenation of plain words, the usual key, without further calls."""
        if not isinstance(hint, tuple):
            return lambda node: self.read(node, hint)
        columns = tuple(self.scalars(part) for part in hint)
        count = len(columns)

        def read(node: object) -> Expression:
            if type(node) is dict and len(node) == 1 and type(parts := node.get("concat")) is list:
                if len(parts) == count:
                    try:
                        return Concat(tuple([column[part] for column, part in zip(columns, parts, strict=True)]))
                    except TypeError:  # a part is an expression of its own, and that cannot be looked up
                        pass
            return self.read(node, hint)

        return read

    @staticmethod
    def _pair(node: object) -> tuple[object, object]:
        if type(node) is not list or len(node) != 2:
            raise Strange
        return node[0], node[1]

    def _concat(self, body: object, hint: Hint) -> Expression:
        parts = sequence(body)
        hints = hint if isinstance(hint, tuple) and len(hint) == len(parts) else (None,) * len(parts)
        return Concat(tuple(self.read(part, each) for part, each in zip(parts, hints, strict=True)))

    def _span(self, body: object, hint: Hint) -> Expression:
        low, high = self._pair(body)
        return Span(self.read(low, hint), self.read(high, hint))

    def _set(self, body: object, hint: Hint) -> Expression:
        return SetLiteral(tuple(self.read(part, hint) for part in sequence(body)))

    def _lookup(self, body: object, hint: Hint) -> Expression:
        key = self.read(member(body, "key"))
        return MapLookup(key, self.table(member(body, "data"), data_type(key), hint))

    def _binary(self, sign: str) -> Callable[[object, Hint], Expression]:
        def read(body: object, hint: Hint) -> Expression:
            parts = sequence(body)
            if len(parts) < 2:
                raise Strange
            if sign == "|" and all(isinstance(part, str) for part in parts):
                # `fin | syn`, as nft 1.1 writes the flags that 1.0 puts side by side in a list.
                return SetLiteral(tuple(self.read(part, hint) for part in parts))
            made = self.read(parts[0], hint)
            for part in parts[1:]:  # nft 1.1 flattens a chain of one operator into one list
                made = Binary(sign, made, self.read(part, data_type(made) or hint))
            return made

        return read

    def _hash(self, kind: str) -> Callable[[object, Hint], Expression]:
        def read(body: object, _: Hint) -> Expression:
            words = [kind]
            if kind == "jhash":
                words.append(print_expression(self.read(member(body, "expr"))))
            words.append(f"mod {number_of(body, 'mod')}")
            fields = fields_of(body)
            words += [f"seed 0x{number_of(body, 'seed'):x}"] if "seed" in fields else []
            words += [f"offset {number_of(body, 'offset')}"] if fields.get("offset") else []
            return UnknownExpression(" ".join(words))

        return read


def verdict(node: object) -> Verdict | None:
    """A verdict, None if the node is something else."""
    if type(node) is not dict or len(node) != 1:
        return None
    [(kind, body)] = node.items()
    if kind == "goto" or kind == "jump":
        target = body.get("target") if type(body) is dict else None
        return Verdict(kind, target) if isinstance(target, str) else None
    if kind in ("accept", "drop", "return", "continue") and body is None:
        return Verdict(kind)
    return None


def as_json(node: object) -> str:
    """A part of a document as its JSON text."""
    return msgspec.json.encode(node).decode()


def member(body: object, name: str) -> object:
    """A member of an object; Strange if there is none."""
    if type(body) is not dict or name not in body:
        raise Strange
    return body[name]


def fields_of(body: object) -> dict[str, object]:
    """An object; Strange if it is something else."""
    if type(body) is not dict:
        raise Strange
    return body


def text_of(body: object, name: str) -> str:
    """A member that is a string."""
    found = member(body, name)
    if type(found) is not str:
        raise Strange
    return found


def number_of(body: object, name: str) -> int:
    """A member that is a number."""
    found = member(body, name)
    if type(found) is not int:
        raise Strange
    return found


def sequence(body: object) -> list[object]:
    """A list; Strange if it is something else."""
    if type(body) is not list:
        raise Strange
    return body


def words_of(body: object) -> tuple[str, ...]:
    """Flags: one word, or a list of them."""
    if isinstance(body, str):
        return (body,)
    found = tuple(part for part in sequence(body) if isinstance(part, str))
    if len(found) != len(sequence(body)):
        raise Strange
    return found


def _payload(body: object, _: Hint) -> Expression:
    if type(body) is dict and "base" in body:
        return UnknownExpression(f"@{text_of(body, 'base')},{number_of(body, 'offset')},{number_of(body, 'len')}")
    if type(body) is not dict or len(body) != 2:
        raise Strange
    return Payload(text_of(body, "protocol"), text_of(body, "field"))


def _option(head: str, body: object) -> Expression:
    """An option or extension header: known by its words only."""
    words = [head, text_of(body, "name"), text_of(body, "field") if "field" in fields_of(body) else ""]
    return UnknownExpression(" ".join(word for word in words if word))


def _rt(body: object, _: Hint) -> Expression:
    family = text_of(body, "family") + " " if "family" in fields_of(body) else ""
    return UnknownExpression(f"rt {family}{text_of(body, 'key')}")


def _ct(body: object, _: Hint) -> Expression:
    return Ct(text_of(body, "key"), text_of(body, "dir") if "dir" in fields_of(body) else None)


def _fib(body: object, _: Hint) -> Expression:
    return Fib(text_of(body, "result"), words_of(member(body, "flags")))


def _numgen(body: object, _: Hint) -> Expression:
    offset = number_of(body, "offset") if "offset" in fields_of(body) else 0
    return Numgen(text_of(body, "mode"), number_of(body, "mod"), offset)


def _prefix(body: object, _: Hint) -> Expression:
    return Prefix(text_of(body, "addr"), number_of(body, "len"))
