"""Rules of the nftables model in nft's text form, as nft 1.0.6 prints them."""

from __future__ import annotations

from kdiag.model.nft import (
    Aside,
    Assign,
    Binary,
    Concat,
    Ct,
    Expression,
    Fib,
    Limit,
    MapLiteral,
    MapLookup,
    Match,
    Meta,
    Numgen,
    Payload,
    Prefix,
    Reject,
    SetChange,
    SetLiteral,
    SetReference,
    Span,
    Statement,
    Translate,
    UnknownExpression,
    UnknownStatement,
    Untrack,
    Value,
    Verdict,
    VerdictMap,
    Wildcard,
)
from kdiag.parse.nft_words import BIT_TYPES, NAME_TYPES, Hint, data_type, default_reject, time_text

_PLAIN_META = frozenset({"iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup"})
"""Meta keys that nft prints without the word `meta` (nft 1.0.6, src/meta.c, meta_key_is_unqualified)."""


def print_statement(statement: Statement, family: str) -> str:
    """One statement of a rule in a table of that family."""
    match statement:
        case Match():
            return _match(statement)
        case Verdict(kind, chain):
            return kind if chain is None else f"{kind} {chain}"
        case VerdictMap(key, table):
            return f"{print_expression(key)} vmap {_table(table, data_type(key))}"
        case Assign(target, value):
            return f"{print_expression(target)} set {print_expression(value, data_type(target))}"
        case Translate():
            return _translate(statement)
        case Reject(kind, code):
            if kind is None or (kind, code) == default_reject(family):
                return "reject"
            return f"reject with {kind}" + (f" {code}" if code else "")
        case SetChange(operation, name, element, value, timeout):
            inner = print_expression(element)
            inner += "" if timeout is None else f" timeout {time_text(timeout)}"
            inner += "" if value is None else f" : {print_expression(value)}"
            return f"{operation} @{name} {{ {inner} }}"
        case Untrack():
            return "notrack"
        case Limit(text) | Aside(text) | UnknownStatement(text):
            return text


def print_expression(expression: Expression, hint: Hint = None) -> str:
    """An expression. `hint` is the data type of a literal: it decides between `1`, `0x00000001` and `"1"`."""
    # Maps of endpoints have very many of these two.
    if type(expression) is Value:
        return _value(expression.value, hint)
    if type(expression) is Concat:
        parts = expression.parts
        if isinstance(hint, tuple) and len(hint) == len(parts):
            return " . ".join([print_expression(part, each) for part, each in zip(parts, hint, strict=True)])
        return " . ".join([print_expression(part) for part in parts])
    return _compound(expression, hint)


def _compound(expression: Expression, hint: Hint) -> str:
    match expression:
        case Value() | Concat():
            return print_expression(expression, hint)
        case Payload(protocol, item):
            return f"{protocol} {item}"
        case Meta(key):
            return key if key in _PLAIN_META else f"meta {key}"
        case Ct(key, direction):
            return f"ct {direction} {key}" if direction else f"ct {key}"
        case Fib(result, flags):
            return f"fib {' . '.join(flags)} {result}"
        case Numgen(mode, modulus, offset):
            return f"numgen {mode} mod {modulus}" + (f" offset {offset}" if offset else "")
        case Prefix(address, length):
            return f"{address}/{length}"
        case Span(low, high):
            return f"{print_expression(low, hint)}-{print_expression(high, hint)}"
        case Wildcard():
            return "*"
        case Binary(operator, left, right):
            return f"{print_expression(left, hint)} {operator} {_operand(right, data_type(left) or hint)}"
        case SetReference(name):
            return f"@{name}"
        case SetLiteral() | MapLiteral():
            return _table(expression, hint)
        case MapLookup(key, table):
            return f"{print_expression(key)} map {_table(table, data_type(key), hint)}"
        case UnknownExpression(text):
            return text


def _value(value: str | int, hint: Hint) -> str:
    if hint is None:
        return str(value)
    if isinstance(value, int):
        if hint == "time":
            return time_text(value)
        return f"0x{value:08x}" if hint == "mark" else str(value)
    if hint in NAME_TYPES and not (hint == "fib_oif" and value in ("exists", "missing")):
        return f'"{value}"'
    return value


def _operand(right: Expression, hint: Hint) -> str:
    match right:
        case SetLiteral():
            return _flags(right, hint)
        case Binary():
            return f"({print_expression(right, hint)})"
    return print_expression(right, hint)


def _flags(right: Expression, hint: Hint) -> str:
    if isinstance(right, SetLiteral):
        return ",".join(print_expression(part, hint) for part in right.elements)
    return print_expression(right, hint)


def _table(table: SetReference | SetLiteral | MapLiteral, hint: Hint, value_hint: Hint = None) -> str:
    match table:
        case SetReference(name):
            return f"@{name}"
        case SetLiteral(elements):
            inner = [print_expression(element, hint) for element in elements]
        case MapLiteral(pairs):
            inner = [f"{print_expression(key, hint)} : {_mapped(value, value_hint)}" for key, value in pairs]
    return "{ " + ", ".join(inner) + " }"


def _mapped(value: Expression | Verdict, hint: Hint) -> str:
    return print_statement(value, "") if isinstance(value, Verdict) else print_expression(value, hint)


def _match(match: Match) -> str:
    left, right, operator = match.left, match.right, match.operator
    hint = data_type(left)
    if isinstance(left, Binary):
        if left.operator == "&" and hint in BIT_TYPES and operator in ("==", "!="):
            field, mask = print_expression(left.left), _flags(left.right, hint)
            if operator == "==" and right == Value(0):
                return f"{field} ! {mask}"
            return f"{field} {'' if operator == '==' else '!= '}{_flags(right, hint)} / {mask}"
        return f"{print_expression(left)} {operator} {print_expression(right, hint)}"
    if operator == "in":
        return f"{print_expression(left)} {_flags(right, hint)}"
    return f"{print_expression(left)} {'' if operator == '==' else operator + ' '}{print_expression(right, hint)}"


def _translate(statement: Translate) -> str:
    words = [statement.kind]
    flags = [flag for flag in statement.flags if flag != "netmap"]
    if statement.family:
        words.append(statement.family)
    if len(flags) < len(statement.flags):
        words.append("prefix")
    port = None if statement.port is None else print_expression(statement.port, "inet_service")
    if statement.address is not None:
        address = _address(statement.address, bracketed=port is not None)
        words += ["to", address if port is None else f"{address}:{port}"]
    elif port is not None:
        words += ["to", f":{port}"]
    if flags:
        words.append(",".join(flags))
    return " ".join(words)


def _address(address: Expression, *, bracketed: bool) -> str:
    if isinstance(address, Span):
        return f"{_address(address.low, bracketed=bracketed)}-{_address(address.high, bracketed=bracketed)}"
    text = print_expression(address)
    return f"[{text}]" if bracketed and isinstance(address, Value) and ":" in text else text
