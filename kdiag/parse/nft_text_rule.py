"""Rules of nft's text form (nft(8), "STATEMENTS") as statements of the model."""

from __future__ import annotations

import re
from collections.abc import Callable

from kdiag.model.nft import (
    Aside,
    Assign,
    Binary,
    Ct,
    Expression,
    Limit,
    MapLookup,
    Match,
    Meta,
    Payload,
    Reject,
    SetChange,
    SetReference,
    Statement,
    Translate,
    UnknownExpression,
    UnknownStatement,
    Untrack,
    Value,
    Verdict,
    VerdictMap,
)
from kdiag.parse.nft_text_expressions import (
    STARTERS,
    Cursor,
    Unclear,
    expression,
    literal,
    table,
    unquoted,
    verdict,
    word_literal,
)
from kdiag.parse.nft_words import BIT_TYPES, Hint, data_type, default_reject, reject_code, seconds, whole

_OPERATORS = ("==", "!=", "<", ">", "<=", ">=", "!")
_NAT_FLAGS = frozenset({"random", "fully-random", "persistent"})
_ADDRESS: Hint = (None, "inet_service")
_BRACKETED = re.compile(r"\[([^\]]+)\](?:-\[([^\]]+)\])?(?::(.+))?")
_WITH_PORT = re.compile(r"([^:]*):([^:]+)")
_LOG_FLAGS = frozenset({"tcp", "skuid", "ether", "all", "sequence", "options", "sequence,options", "options,sequence"})
_STATEMENT_WORDS = frozenset(
    "accept drop continue return jump goto queue counter log limit quota notrack masquerade redirect dnat snat reject"
    " add update delete xt dup flow last meter reset".split()
)
_RESUME = (_STATEMENT_WORDS | STARTERS | {"#"}) - {"(", "length", "protocol", "priority"}
"""Words at which reading is taken up again after something unknown."""


def parse_statements(text: str, family: str) -> tuple[Statement, ...]:
    """The statements of a rule in a table of that family, given without comment and handle.

    What cannot be read is an UnknownStatement, up to the next word at which a statement can be.
    """
    cursor = Cursor.of(text)
    statements: list[Statement] = []
    while not cursor.ended:
        start = cursor.position
        try:
            statements.append(statement(cursor, family))
        except (Unclear, RecursionError):
            cursor.position = start + 1
            while not cursor.ended and not _resumes(cursor, family):
                cursor.position += 1
            statements.append(UnknownStatement(" ".join(cursor.words[start : cursor.position])))
    return tuple(statements)


def _resumes(cursor: Cursor, family: str) -> bool:
    if cursor.peek() not in _RESUME:
        return False
    start = cursor.position
    try:
        statement(cursor, family)
    except (Unclear, RecursionError):
        return False
    finally:
        cursor.position = start
    return True


def statement(cursor: Cursor, family: str) -> Statement:
    """The statement that begins at the next word; Unclear if none can be read."""
    found = verdict(cursor)
    if found is not None:
        return found
    start = cursor.position
    word = cursor.peek()
    if word in ("dnat", "snat", "masquerade", "redirect"):
        return _translate(cursor)
    if word in ("add", "update", "delete") and cursor.peek(1).startswith("@"):
        return _change(cursor, family)
    if word == "ct" and cursor.peek(1) in ("count", "helper", "timeout", "expectation"):
        special = _ct_special(cursor)
        if special is not None:
            return special
        cursor.position = start
    reader = _KINDS.get(word)
    if reader is None:
        return _comparison(cursor)
    cursor.next()
    made = reader(cursor, family)
    return made if made is not None else _aside(cursor, start)


def _comparison(cursor: Cursor) -> Statement:
    """A match, an assignment or a verdict map: what begins with an expression."""
    if cursor.peek() not in STARTERS and not cursor.peek().startswith("@"):
        raise Unclear
    left = expression(cursor)
    if cursor.take("vmap"):
        return VerdictMap(left, table(cursor, data_type(left)))
    hint = data_type(left)
    if cursor.take("set"):
        if not isinstance(left, Meta | Ct | Payload | UnknownExpression):
            raise Unclear
        begins = cursor.peek() in STARTERS
        return Assign(left, expression(cursor, hint) if begins else literal(cursor, hint))
    operator = cursor.take(*_OPERATORS)
    right = literal(cursor, hint)
    if operator == "!":
        return Match(Binary("&", left, right), "==", Value(0))
    if cursor.take("/"):
        return Match(Binary("&", left, literal(cursor, hint)), operator or "==", right)
    if not operator:
        # A set is looked up; flags side by side, or one flag, ask for any of them.
        plain = not isinstance(right, SetReference) and cursor.words[cursor.position - 1] != "}"
        operator = "in" if hint in BIT_TYPES and plain and not isinstance(left, Binary) else "=="
    return Match(left, operator, right)


def _ct_special(cursor: Cursor) -> Statement | None:
    start = cursor.position
    cursor.next()
    key = cursor.next()
    if key == "count":
        cursor.take("over")
        cursor.number()
        return Limit(" ".join(cursor.words[start : cursor.position]))
    if cursor.take("set"):
        cursor.next()
        return _aside(cursor, start)
    return None


def _aside(cursor: Cursor, start: int) -> Aside:
    return Aside(" ".join(cursor.words[start : cursor.position]))


def _counter(cursor: Cursor, _: str) -> None:
    if cursor.take("name"):
        cursor.next()
    while cursor.take("packets", "bytes"):
        cursor.number()


def _log(cursor: Cursor, _: str) -> None:
    while option := cursor.take("prefix", "level", "group", "snaplen", "queue-threshold", "flags"):
        if option != "flags":
            cursor.next()
            continue
        while cursor.take(*_LOG_FLAGS) or (cursor.peek(1) == "options" and cursor.take("ip") and cursor.next()):
            pass


def _dup(cursor: Cursor, _: str) -> None:
    cursor.expect("to")
    cursor.next()
    if cursor.take("device"):
        cursor.next()


def _flow(cursor: Cursor, _: str) -> None:
    cursor.expect("add", "offload")
    cursor.next()


def _last(cursor: Cursor, _: str) -> None:
    if cursor.take("used"):
        cursor.next()


def _reset(cursor: Cursor, _: str) -> None:
    cursor.expect("tcp")
    cursor.expect("option")
    cursor.next()


def _queue(cursor: Cursor, _: str) -> Statement:
    cursor.position = len(cursor.words)  # nothing can follow it
    return Verdict("queue")


def _limit(cursor: Cursor, _: str) -> Statement:
    start = cursor.position - 1
    if cursor.take("name"):
        cursor.next()
    else:
        cursor.expect("rate")
        cursor.take("over")
        rate = cursor.next()
        if "/" not in rate:
            cursor.next()  # `10 mbytes/second`
        if cursor.peek() == "burst":
            standard = cursor.words[cursor.position : cursor.position + 3] == ["burst", "5", "packets"]
            cursor.position += 1
            cursor.number()
            cursor.next()
            if standard:  # nft 1.0.6 leaves the default out
                return Limit(" ".join(cursor.words[start : cursor.position - 3]))
    return Limit(" ".join(cursor.words[start : cursor.position]))


def _quota(cursor: Cursor, _: str) -> Statement:
    start = cursor.position - 1
    if cursor.take("name"):
        cursor.next()
        return Limit(" ".join(cursor.words[start : cursor.position]))
    cursor.take("over", "until")
    cursor.number()
    cursor.next()
    made = Limit(" ".join(cursor.words[start : cursor.position]))
    if cursor.take("used"):
        cursor.number()
        cursor.next()
    return made


def _meter(cursor: Cursor, _: str) -> Statement:
    start = cursor.position - 1
    while cursor.next() != "}":
        pass
    return Limit(" ".join(cursor.words[start : cursor.position]))


def _xt(cursor: Cursor, _: str) -> Statement:
    """A match or target of iptables-nft, of which nft knows only the name (nft 1.0.6, src/xt.c)."""
    kind, name = cursor.expect("match", "target", "watcher"), cursor.next()
    text = f'xt {kind} "{unquoted(name)}"'
    return Aside(text) if (kind, unquoted(name)) == ("match", "comment") else UnknownStatement(text)


def _remark(cursor: Cursor, _: str) -> Statement:
    """`# xt_recent`: how nft before 1.0.2 writes what only iptables-nft knows."""
    return UnknownStatement(f"# {cursor.next()}")


def _notrack(_: Cursor, __: str) -> Statement:
    return Untrack()


def _reject(cursor: Cursor, family: str) -> Statement:
    if not cursor.take("with"):
        return Reject(*default_reject(family))
    kind = cursor.expect("icmp", "icmpv6", "icmpx", "tcp")
    if kind == "tcp":
        cursor.expect("reset")
        return Reject("tcp reset")
    cursor.take("type")
    code = cursor.next()
    number = whole(code)
    return Reject(kind, reject_code(kind, code if number is None else number))


def _change(cursor: Cursor, family: str) -> Statement:
    start = cursor.position
    operation, name = cursor.next(), cursor.next()[1:]
    cursor.expect("{")
    element = expression(cursor)
    timeout: int | None = None
    value: Expression | None = None
    budgets: list[str] = []
    while not cursor.take("}"):
        if cursor.take("timeout"):
            timeout = seconds(cursor.next())
        elif cursor.take("expires", "comment"):
            cursor.next()
        elif cursor.take(":"):
            value = expression(cursor) if cursor.peek() in STARTERS else literal(cursor, None)
        else:
            inner = statement(cursor, family)
            if isinstance(inner, Limit):
                budgets.append(inner.text)
            elif not isinstance(inner, Aside):
                raise Unclear
    if budgets:
        head = " ".join(cursor.words[start : start + 3])
        inside = cursor.words[start + 3 : cursor.position - 1]
        return Limit(f"{head} {' '.join(inside)} }}")
    return SetChange(operation, name, element, value, timeout)


def _translate(cursor: Cursor) -> Statement:
    kind = cursor.next()
    family = cursor.take("ip", "ip6") or None
    flags: tuple[str, ...] = ()
    while word := cursor.take("prefix", "interval", "addr", ".", "port"):
        if word == "prefix":
            flags = ("netmap",)
    address, port = _target(cursor) if cursor.take("to") else (None, None)
    words = cursor.peek().split(",")
    if all(each in _NAT_FLAGS for each in words):
        cursor.next()
        flags += tuple(words)
    return Translate(kind, address, port, flags, family)


def _target(cursor: Cursor) -> tuple[Expression | None, Expression | None]:
    """Address and port of a translation: `ADDR`, `ADDR:PORT`, `:PORT`; each may be a map."""
    if cursor.peek() in STARTERS:
        address: Expression | None = expression(cursor, _ADDRESS)
        if isinstance(address, MapLookup) and isinstance(address.table, SetReference):
            name, _, rest = address.table.name.partition(":")  # `@map:80`: no name has a colon
            return MapLookup(address.key, SetReference(name)), _port(cursor, rest) if rest else None
        follows = cursor.peek().startswith(":") and cursor.peek() != ":"
        return address, _port(cursor, cursor.next()[1:]) if follows else None
    word = cursor.next()
    bracketed = _BRACKETED.fullmatch(word)
    if bracketed:
        text = bracketed[1] if bracketed[2] is None else f"{bracketed[1]}-{bracketed[2]}"
        port = bracketed[3]
    else:
        with_port = _WITH_PORT.fullmatch(word)
        text, port = (with_port[1], with_port[2]) if with_port else (word, None)
    address = word_literal(unquoted(text), None) if text else None
    return address, None if port is None else _port(cursor, port)


def _port(cursor: Cursor, first: str) -> Expression:
    """A port whose first word has been read, as it stands in one word with the address."""
    if first not in STARTERS:
        return word_literal(first, "inet_service")
    rest = Cursor([first, *cursor.words[cursor.position :]])
    made = expression(rest, "inet_service")
    cursor.position += rest.position - 1
    return made


_KINDS: dict[str, Callable[[Cursor, str], Statement | None]] = {
    "counter": _counter,
    "log": _log,
    "dup": _dup,
    "flow": _flow,
    "last": _last,
    "reset": _reset,
    "queue": _queue,
    "limit": _limit,
    "quota": _quota,
    "meter": _meter,
    "xt": _xt,
    "#": _remark,
    "reject": _reject,
    "notrack": _notrack,
}
