"""Expressions of nft's text form (nft(8), "EXPRESSIONS") as expressions of the model."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

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
    SetLiteral,
    SetReference,
    Span,
    UnknownExpression,
    Value,
    Verdict,
    Wildcard,
)
from kdiag.parse.nft_words import BIT_TYPES, Hint, data_type, scalar, seconds, whole, worded

_TOKEN = re.compile(r'[{}()]|(?:[^\s{}(),"]|"[^"]*")+(?:,(?:[^\s{}(),"]|"[^"]*")+)*|[,"]')
_QUOTED_SPAN = re.compile(r'"([^"]*)"-"([^"]*)"')
_BINARY = {
    **{sign: sign for sign in ("&", "|", "^", "<<", ">>")},
    "and": "&",
    "or": "|",
    "xor": "^",
    "lshift": "<<",
    "rshift": ">>",
}
_PORTS = "sport dport"
_ICMP = "type code checksum id sequence mtu taddr daddr max-delay parameter-problem packet-too-big"
_FIELDS = {
    protocol: frozenset(fields.split())
    for protocol, fields in {
        "ip": "version hdrlength dscp ecn length id frag-off ttl protocol checksum saddr daddr",
        "ip6": "version dscp ecn flowlabel length nexthdr hoplimit saddr daddr",
        "tcp": f"{_PORTS} sequence ackseq doff reserved flags window checksum urgptr",
        "udp": f"{_PORTS} length checksum",
        "udplite": f"{_PORTS} csumcov checksum",
        "sctp": f"{_PORTS} vtag checksum",
        "dccp": f"{_PORTS} type",
        "th": _PORTS,
        "icmp": f"{_ICMP} gateway",
        "icmpv6": _ICMP,
        "igmp": "type mrt checksum group",
        "ether": "saddr daddr type",
        "vlan": "id dei cfi pcp type",
        "arp": "htype ptype hlen plen operation",
        "ah": "nexthdr hdrlength reserved spi sequence",
        "esp": "spi sequence",
        "comp": "nexthdr flags cpi",
    }.items()
}
_BARE_META = frozenset(
    "mark iif oif iifname oifname iiftype oiftype iifgroup oifgroup skuid skgid length protocol priority pkttype cpu"
    " nftrace rtclassid cgroup ibrname obrname".split()
)
_UNKNOWN_KINDS = frozenset(
    "exthdr hbh rt frag dst mh srh socket ipsec osf jhash symhash vxlan geneve gre gretap".split()
)
_EXPRESSION_WORDS = frozenset({"meta", "ct", "fib", "numgen", "("}) | _UNKNOWN_KINDS
"""Words that begin an expression where a literal may stand as well."""
STARTERS = _EXPRESSION_WORDS | _BARE_META | frozenset(_FIELDS)
"""Words that begin an expression of its own."""
_AFTER_UNKNOWN = frozenset("== != < > <= >= & | ^ ! set exists missing . map vmap".split())
_VERDICTS = frozenset({"accept", "drop", "continue", "return"})


class Unclear(Exception):  # noqa: N818 - not an error: the caller falls back to "unknown"
    """Words that the grammar does not have at this place."""


class Cursor(Struct):
    """Words of a rule and how far they have been read."""

    words: list[str]
    position: int = 0

    @classmethod
    def of(cls, text: str) -> Cursor:
        """The words of a line: quoted parts and lists with commas but no spaces (`snat,dnat`) are one word."""
        return cls(_TOKEN.findall(text))

    def peek(self, ahead: int = 0) -> str:
        """A coming word; an empty one at the end."""
        place = self.position + ahead
        return self.words[place] if place < len(self.words) else ""

    def next(self) -> str:
        """The next word, which is thereby read."""
        if self.position >= len(self.words):
            raise Unclear
        self.position += 1
        return self.words[self.position - 1]

    def take(self, *options: str) -> str:
        """The next word if it is one of these, else an empty one and nothing is read."""
        word = self.peek()
        if word and word in options:
            self.position += 1
            return word
        return ""

    def expect(self, *options: str) -> str:
        """The next word, which must be one of these."""
        word = self.take(*options)
        if not word:
            raise Unclear
        return word

    def number(self) -> int:
        """The next word, which must be a decimal number."""
        found = whole(self.next())
        if found is None:
            raise Unclear
        return found

    @property
    def ended(self) -> bool:
        """Whether every word has been read."""
        return self.position >= len(self.words)


def expression(cursor: Cursor, hint: Hint = None) -> Expression:
    """An expression with everything that binds to it: bit operations, `.` and `map`."""
    parts = [_operations(cursor, _part(hint, 0))]
    while cursor.peek() == "." and cursor.take("."):
        parts.append(_operations(cursor, _part(hint, len(parts))))
    made = parts[0] if len(parts) == 1 else Concat(tuple(parts))
    if cursor.take("map"):
        return MapLookup(made, table(cursor, data_type(made), hint))
    return made


def literal(cursor: Cursor, hint: Hint) -> Expression:
    """What a field is compared with: a word, flags, a concatenation, a set, or another field."""
    word = cursor.peek()
    if word == "{":
        cursor.next()
        return SetLiteral(tuple(_list(cursor, hint)))
    if word in _EXPRESSION_WORDS:
        return expression(cursor, hint)
    parts = [_word(cursor, _part(hint, 0))]
    while cursor.take("."):
        parts.append(_word(cursor, _part(hint, len(parts))))
    return parts[0] if len(parts) == 1 else Concat(tuple(parts))


def table(cursor: Cursor, hint: Hint, value_hint: Hint = None) -> SetReference | MapLiteral:
    """What stands behind `map` or `vmap`."""
    if cursor.peek().startswith("@"):
        return SetReference(cursor.next()[1:])
    cursor.expect("{")
    pairs = []
    while not cursor.take("}"):
        key = literal(cursor, hint)
        cursor.expect(":")
        pairs.append((key, mapped(cursor, value_hint)))
        if not cursor.take(","):
            cursor.expect("}")
            break
    return MapLiteral(tuple(pairs))


def mapped(cursor: Cursor, hint: Hint) -> Expression | Verdict:
    """What a map has for a key: a literal or a verdict."""
    return verdict(cursor) or literal(cursor, hint)


def verdict(cursor: Cursor) -> Verdict | None:
    """A verdict if one stands here."""
    word = cursor.peek()
    if word in _VERDICTS:
        return Verdict(cursor.next())
    if word in ("jump", "goto"):
        return Verdict(cursor.next(), unquoted(cursor.next()))
    return None


def unquoted(word: str) -> str:
    """A word without the quotes around it."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word


def word_literal(text: str, hint: Hint) -> Expression:
    """One word as a literal."""
    if text == "*":
        return Wildcard()
    if text[:1] == "@":
        return UnknownExpression(text) if "," in text else SetReference(text[1:])
    if '"' in text:
        return _quoted(text, hint)
    if hint in BIT_TYPES and ("," in text or "|" in text):
        return flags(re.split("[,|]", text), hint)
    if hint == "time" and (count := seconds(text)) is not None:
        return Value(count)
    return scalar(text, hint)


def flags(words: Iterable[str], hint: Hint) -> SetLiteral:
    """Flags side by side."""
    return SetLiteral(tuple(scalar(word, hint) for word in words))


def _part(hint: Hint, place: int) -> Hint:
    """The data type of one part of a concatenation."""
    if isinstance(hint, tuple):
        return hint[place] if place < len(hint) else None
    return hint if place == 0 else None


def _list(cursor: Cursor, hint: Hint) -> Iterable[Expression]:
    while not cursor.take("}"):
        yield literal(cursor, hint)
        if not cursor.take(","):
            cursor.expect("}")
            return


def _quoted(text: str, hint: Hint) -> Expression:
    found = _QUOTED_SPAN.fullmatch(text)
    if found:
        return Span(Value(worded(hint, found[1])), Value(worded(hint, found[2])))
    if len(text) < 2 or text[0] != '"' or text[-1] != '"' or '"' in text[1:-1]:
        raise Unclear
    inner = text[1:-1]
    return Wildcard() if inner == "*" else Value(worded(hint, inner))


def _word(cursor: Cursor, hint: Hint) -> Expression:
    word = cursor.next()
    if word in ("}", "{", ")", "(", ",", ":", ".", '"'):
        raise Unclear
    return word_literal(word, hint)


def _operations(cursor: Cursor, hint: Hint) -> Expression:
    made = _primary(cursor, hint)
    while cursor.peek() in _BINARY:
        sign = _BINARY[cursor.next()]
        each = data_type(made) or hint
        if cursor.take("("):
            right = _operations(cursor, each)
            cursor.expect(")")
        else:
            right = _primary(cursor, each)
        made = _joined(sign, made, right, each)
    return made


def _joined(sign: str, left: Expression, right: Expression, hint: Hint) -> Expression:
    """A bit operation; flags with `|` between them are the list that they are elsewhere."""
    if sign == "|" and hint in BIT_TYPES and isinstance(right, Value):
        if isinstance(left, Value):
            return SetLiteral((left, right))
        if isinstance(left, SetLiteral):
            return SetLiteral((*left.elements, right))
    return Binary(sign, left, right)


def _primary(cursor: Cursor, hint: Hint) -> Expression:
    word = cursor.peek()
    if word == "(":
        cursor.next()
        made = _operations(cursor, hint)
        cursor.expect(")")
        return made
    if word == "meta":
        cursor.next()
        return Meta(cursor.next())
    if word == "ct":
        return _ct(cursor)
    if word == "fib":
        return _fib(cursor)
    if word == "numgen":
        return _numgen(cursor)
    if word in _FIELDS:
        return _payload(cursor)
    if word in _UNKNOWN_KINDS:
        return _unknown(cursor)
    if word in _BARE_META:
        return Meta(cursor.next())
    return _word(cursor, hint)


def _payload(cursor: Cursor) -> Expression:
    protocol = cursor.next()
    field = cursor.next()
    if field in _FIELDS[protocol]:
        return Payload(protocol, field)
    if field != "option":
        raise Unclear
    words = [protocol, field, cursor.next()]
    if cursor.peek() not in _AFTER_UNKNOWN and whole(cursor.peek()) is None:
        words.append(cursor.next())
    return UnknownExpression(" ".join(words))


def _ct(cursor: Cursor) -> Expression:
    cursor.next()
    direction = cursor.take("original", "reply") or None
    key = cursor.next()
    if key in ("ip", "ip6"):
        key = f"{key} {cursor.expect('saddr', 'daddr')}"
    return Ct(key, direction)


def _fib(cursor: Cursor) -> Expression:
    cursor.next()
    found = [cursor.next()]
    while cursor.take("."):
        found.append(cursor.next())
    return Fib(cursor.expect("type", "oif", "oifname", "check"), tuple(found))


def _numgen(cursor: Cursor) -> Expression:
    cursor.next()
    mode = cursor.expect("random", "inc")
    cursor.expect("mod")
    modulus = cursor.number()
    return Numgen(mode, modulus, cursor.number() if cursor.take("offset") else 0)


def _unknown(cursor: Cursor) -> Expression:
    """An expression whose words are known but not what they give: a hash, a socket, a route, an extension header."""
    start = cursor.position
    kind = cursor.next()
    if kind in ("jhash", "symhash"):
        if kind == "jhash":
            expression(cursor)
        cursor.expect("mod")
        cursor.number()
        while cursor.take("seed", "offset"):
            cursor.next()
    elif kind == "ipsec":
        cursor.expect("in", "out")
        if cursor.take("spnum"):
            cursor.number()
        if cursor.next() in ("ip", "ip6"):
            cursor.next()
    elif kind == "osf":
        if cursor.take("ttl"):
            cursor.next()
        cursor.expect("name", "version")
    elif kind == "exthdr":
        cursor.next()
    else:
        second = cursor.next()
        if second in _FIELDS:  # `rt ip nexthop`, `vxlan ip saddr`
            cursor.next()
        elif second == "cgroupv2" and cursor.take("level"):
            cursor.number()
    return UnknownExpression(" ".join(cursor.words[start : cursor.position]))
