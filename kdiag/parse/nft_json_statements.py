"""Statements of `nft -j` (libnftables-json(5), "STATEMENTS") as statements of the model, each with its text form."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from kdiag.model.nft import (
    Aside,
    Assign,
    Binary,
    Ct,
    Expression,
    Limit,
    Match,
    Meta,
    Payload,
    Reject,
    SetChange,
    Statement,
    Translate,
    UnknownExpression,
    UnknownStatement,
    Untrack,
    Value,
    Verdict,
    VerdictMap,
)
from kdiag.parse.nft_json_expressions import (
    ExpressionReader,
    Strange,
    as_json,
    fields_of,
    member,
    number_of,
    sequence,
    text_of,
    verdict,
    words_of,
)
from kdiag.parse.nft_print import print_statement
from kdiag.parse.nft_text_rule import parse_statements
from kdiag.parse.nft_words import Hint, data_type, default_reject, reject_code

_OPERATORS = frozenset({"==", "!=", "<", ">", "<=", ">=", "in"})
_ADDRESS: Hint = (None, "inet_service")
_ASIDES = frozenset(["counter", "log", "flow", "last", "secmark", "ct helper", "ct timeout", "ct expectation", "reset"])
"""Statements that leave a packet on its way. (`fwd`, `tproxy` and `synproxy` do not: they are unknown.)"""
_LOG_WORDS = ("level", "group", "snaplen", "queue-threshold")


class StatementReader:
    """Reads the statements of rules in tables of one family; reads each text of a statement once."""

    def __init__(self, expressions: ExpressionReader, family: str) -> None:
        self._expressions = expressions
        self._family = family
        self._known: dict[bytes, tuple[Statement, str]] = {}
        self._kinds: dict[str, Callable[[object], Statement]] = {
            "match": self._match,
            "vmap": self._verdict_map,
            "mangle": self._assign,
            "dnat": lambda body: self._translate("dnat", body),
            "snat": lambda body: self._translate("snat", body),
            "masquerade": lambda body: self._translate("masquerade", body),
            "redirect": lambda body: self._translate("redirect", body),
            "reject": self._reject,
            "set": lambda body: self._change(body, "set"),
            "map": lambda body: self._change(body, "map"),
            "notrack": lambda _: Untrack(),
            "queue": lambda _: Verdict("queue"),
            "limit": lambda body: Limit(_limit(body)),
            "quota": lambda body: Limit(_quota(body)),
            "ct count": lambda body: Limit(f"ct count {_over(body)}{number_of(body, 'val')}"),
            "meter": lambda body: Limit("meter " + as_json(body)),
            "xt": _xt,
            "fwd": lambda body: UnknownStatement(f'fwd to "{text_of(body, "dev")}"'),
            "dup": lambda body: Aside(_dup(body, device=family == "netdev")),
        }

    def read(self, raw: bytes) -> tuple[Statement, str]:
        """One statement, given as JSON text, and its text form."""
        known = self._known.get(raw)
        if known is None:
            known = self._known[raw] = self._read(raw)
        return known

    def _read(self, raw: bytes) -> tuple[Statement, str]:
        try:
            statement = self.statement(msgspec.json.decode(raw))
            return statement, print_statement(statement, self._family)
        except (RecursionError, msgspec.DecodeError):
            # Nested too deeply, or a number that fits no type.
            text = raw.decode(errors="replace")
            return UnknownStatement(text), text

    def statement(self, node: object) -> Statement:
        """One statement, given as decoded JSON."""
        found = verdict(node)
        if found is not None:
            return found
        if type(node) is str:
            # nft prints its text form for what has no JSON form (`update @map { … }` in 1.0.6).
            found_by_text = parse_statements(node, self._family)
            return found_by_text[0] if len(found_by_text) == 1 else UnknownStatement(node)
        if type(node) is dict and len(node) == 1:
            [(kind, body)] = node.items()
            reader = self._kinds.get(kind)
            if reader is not None:
                try:
                    return reader(body)
                except Strange:
                    pass
            elif kind in _ASIDES:
                return Aside(_aside(kind, body))
        return UnknownStatement(as_json(node))

    def _match(self, body: object) -> Statement:
        operator = text_of(body, "op")
        left = self._expressions.read(member(body, "left"))
        hint = data_type(left)
        right = self._expressions.read(member(body, "right"), hint)
        if operator == "!":
            return Match(Binary("&", left, right), "==", Value(0))
        if operator not in _OPERATORS:
            raise Strange
        return Match(left, operator, right)

    def _verdict_map(self, body: object) -> Statement:
        key = self._expressions.read(member(body, "key"))
        return VerdictMap(key, self._expressions.table(member(body, "data"), data_type(key)))

    def _assign(self, body: object) -> Statement:
        target = self._expressions.read(member(body, "key"))
        if not isinstance(target, Meta | Ct | Payload | UnknownExpression):
            raise Strange
        return Assign(target, self._expressions.read(member(body, "value"), data_type(target)))

    def _translate(self, kind: str, body: object) -> Statement:
        if body is None:
            return Translate(kind)
        if type(body) is not dict:
            raise Strange
        read = self._expressions.read
        flags = words_of(body["flags"]) if "flags" in body else ()
        if "prefix" in (words_of(body["type_flags"]) if "type_flags" in body else ()) and "netmap" not in flags:
            flags = ("netmap", *flags)
        return Translate(
            kind,
            read(body["addr"], _ADDRESS) if "addr" in body else None,
            read(body["port"], "inet_service") if "port" in body else None,
            flags,
            text_of(body, "family") if "family" in body else None,
        )

    def _reject(self, body: object) -> Statement:
        if body is None:
            return Reject(*default_reject(self._family))
        kind = text_of(body, "type")
        code = fields_of(body).get("expr")
        if not (code is None or type(code) is str or type(code) is int):
            raise Strange
        return Reject(kind, reject_code(kind, code))

    def _change(self, body: object, kind: str) -> Statement:
        operation, name = text_of(body, "op"), text_of(body, kind)
        if operation not in ("add", "update", "delete"):
            raise Strange
        node, timeout = member(body, "elem"), None
        if type(node) is dict and type(inner := node.get("elem")) is dict and "val" in inner:
            node = inner["val"]
            timeout = number_of(inner, "timeout") if "timeout" in inner else None
        element = self._expressions.read(node)
        value: Expression | None = self._expressions.read(member(body, "data")) if kind == "map" else None
        change = SetChange(operation, name.removeprefix("@"), element, value, timeout)
        inner_statements = [self.statement(each) for each in sequence(fields_of(body).get("stmt", []))]
        budgets = [each for each in inner_statements if not isinstance(each, Aside)]
        if not budgets:
            return change
        text = print_statement(change, self._family).removesuffix(" }")
        text = f"{text} {' '.join(print_statement(each, self._family) for each in budgets)} }}"
        return Limit(text) if all(isinstance(each, Limit) for each in budgets) else UnknownStatement(text)


def _xt(body: object) -> Statement:
    """A match or target of iptables-nft, of which nft knows only the name (nft 1.0.6, src/xt.c).

    Only the comment is known to change nothing.
    """
    kind, name = text_of(body, "type"), text_of(body, "name")
    text = f'xt {kind} "{name}"'
    return Aside(text) if (kind, name) == ("match", "comment") else UnknownStatement(text)


def _over(body: object) -> str:
    return "over " if type(body) is dict and body.get("inv") is True else ""


def _dup(body: object, *, device: bool) -> str:
    text = f'dup to "{text_of(body, "addr")}"' if device else f"dup to {text_of(body, 'addr')}"
    return text + (f' device "{text_of(body, "dev")}"' if "dev" in fields_of(body) else "")


def _limit(body: object) -> str:
    if type(body) is str:
        return f'limit name "{body}"'
    rate, per, over = number_of(body, "rate"), text_of(body, "per"), _over(body)
    burst = number_of(body, "burst") if "burst" in fields_of(body) else 0
    if fields_of(body).get("rate_unit", "packets") == "packets":
        return f"limit rate {over}{rate}/{per}" + (f" burst {burst} packets" if burst not in (0, 5) else "")
    text = f"limit rate {over}{rate} {text_of(body, 'rate_unit')}/{per}"
    return text + (f" burst {burst} {text_of(body, 'burst_unit')}" if burst else "")


def _quota(body: object) -> str:
    if type(body) is str:
        return f'quota name "{body}"'
    return f"quota {_over(body)}{number_of(body, 'val')} {text_of(body, 'val_unit')}"


def _aside(kind: str, body: object) -> str:
    """The text form of the two that are in most rule sets; the JSON text of the others."""
    if body is None:
        return kind
    if kind in ("counter", "log") and type(body) is dict:
        words = [kind]
        if kind == "counter":
            words += [f"{key} {body[key]}" for key in ("packets", "bytes") if key in body]
        else:
            words += [f'prefix "{body["prefix"]}"'] if "prefix" in body else []
            words += [f"{key} {body[key]}" for key in _LOG_WORDS if key in body]
            flags = body.get("flags")
            words += [f"flags {','.join(map(str, flags)) if type(flags) is list else flags}"] if flags else []
        return " ".join(words)
    if type(body) is str:
        return {
            "counter": f'counter name "{body}"',
            "ct helper": f'ct helper set "{body}"',
            "ct timeout": f'ct timeout set "{body}"',
            "ct expectation": f'ct expectation set "{body}"',
        }.get(kind, f"{kind} {body}")
    return f"{kind} {as_json(body)}"
