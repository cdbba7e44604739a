"""nftables rules as `nft list ruleset` prints them: syntax, no meaning.

One shape for the JSON and the text form. What a rule means to a packet is decided in `kdiag.walk`. Words are those of
nft(8) and libnftables-json(5), version 1.0.6; where the two forms differ in writing, the JSON one is kept.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

# -- expressions: values that a packet, a set or the rule itself gives ---------------------------------------------


class Value(Struct, frozen=True):
    """A literal as printed: `tcp`, `10.96.0.1`, `cni0`, `0x4000` (numbers are integers)."""

    value: str | int


class Payload(Struct, frozen=True):
    """A header field: `ip daddr`, `tcp dport`, `th dport`."""

    protocol: str
    field: str


class Meta(Struct, frozen=True):
    """Packet meta data: `mark`, `l4proto`, `iifname`, `oif`, `pkttype`, `skuid`, `nfproto`, …"""

    key: str


class Ct(Struct, frozen=True):
    """A field of the connection: `state`, `status`, `mark`, `direction`, `daddr` … `direction` is None, `original` or `reply`."""

    key: str
    direction: str | None = None


class Fib(Struct, frozen=True):
    """A routing lookup: `fib daddr type` is result `type`, flags `("daddr",)`."""

    result: str
    flags: tuple[str, ...]


class Numgen(Struct, frozen=True):
    """A number generator: `numgen random mod 3 offset 0`; `mode` is `random` or `inc`."""

    mode: str
    modulus: int
    offset: int = 0


class Concat(Struct, frozen=True):
    """Several expressions side by side: `ip daddr . meta l4proto . th dport`."""

    parts: tuple[Expression, ...]


class Prefix(Struct, frozen=True):
    """`10.244.0.0/16`."""

    address: str
    length: int


class Span(Struct, frozen=True):
    """An inclusive range: `30000-32767`, `10.0.0.1-10.0.0.9`."""

    low: Expression
    high: Expression


class Wildcard(Struct, frozen=True):
    """`*`: anything (the key of a map's default element)."""


class Binary(Struct, frozen=True):
    """A bit operation: `&`, `|`, `^`, `<<`, `>>`."""

    operator: str
    left: Expression
    right: Expression


class SetReference(Struct, frozen=True):
    """`@name`: a named set, map or verdict map of the same table."""

    name: str


class SetLiteral(Struct, frozen=True):
    """An anonymous set: `{ 80, 443 }`."""

    elements: tuple[Expression, ...]


class MapLiteral(Struct, frozen=True):
    """An anonymous map or verdict map: `{ 0 : goto a, 1 : goto b }`."""

    elements: tuple[tuple[Expression, Expression | Verdict], ...]


class MapLookup(Struct, frozen=True):
    """The value that a map has for a key: `numgen random mod 2 map { 0 : 10.0.0.1 . 80, 1 : … }`."""

    key: Expression
    table: SetReference | MapLiteral


class UnknownExpression(Struct, frozen=True):
    """An expression that the grammar here does not know, as printed."""

    text: str


Expression = (
    Value
    | Payload
    | Meta
    | Ct
    | Fib
    | Numgen
    | Concat
    | Prefix
    | Span
    | Wildcard
    | Binary
    | SetReference
    | SetLiteral
    | MapLiteral
    | MapLookup
    | UnknownExpression
)

# -- statements: what a rule asks and does, in order ---------------------------------------------------------------


class Match(Struct, frozen=True):
    """`LEFT OPERATOR RIGHT`; operator is `==`, `!=`, `<`, `>`, `<=`, `>=` or `in` (any of these flags).

    Flags side by side (`established,related`) are a `SetLiteral`, also as the operand of `&` (`tcp flags syn /
    fin,syn`). `LEFT ! FLAGS`, none of them, is written out as `LEFT & FLAGS == 0`.
    """

    left: Expression
    operator: str
    right: Expression


class Verdict(Struct, frozen=True):
    """`accept`, `drop`, `continue`, `return`, `queue`, or `jump`/`goto` with a chain."""

    kind: str
    chain: str | None = None


class VerdictMap(Struct, frozen=True):
    """`KEY vmap TABLE`: the verdict that the map has for the key; none, and the rule ends."""

    key: Expression
    table: SetReference | MapLiteral


class Assign(Struct, frozen=True):
    """`meta mark set VALUE`, `ct mark set VALUE`: a field is given a value."""

    target: Meta | Ct | Payload | UnknownExpression
    value: Expression


class Translate(Struct, frozen=True):
    """`dnat`, `snat`, `masquerade`, `redirect` (`kind`). `address` and `port` None: not named.

    `dnat to ADDR . PORT map …` has one expression in `address` that yields both. `family` (`ip`, `ip6`) is what the rule
    names, not the table's. Flag `netmap` stands for the text form's word `prefix`.
    """

    kind: str
    address: Expression | None = None
    port: Expression | None = None
    flags: tuple[str, ...] = ()
    family: str | None = None


class Reject(Struct, frozen=True):
    """`reject with icmp port-unreachable`. `type` is `icmp`, `icmpv6`, `icmpx` or `tcp reset`, which has no code.

    The bare word is spelled out as the default of the table's family, for which both forms use it; both None in a
    family that has no default.
    """

    type: str | None = None
    code: str | None = None


class SetChange(Struct, frozen=True):
    """`update @affinity-… { ip saddr timeout 3h }`; `operation` is `add`, `update` or `delete`.

    `value` is what a map is given for the element. One that is also a budget (`add @s { ip saddr limit rate … }`) is a
    `Limit`.
    """

    operation: str
    name: str
    element: Expression
    value: Expression | None = None
    timeout_s: int | None = None


class Untrack(Struct, frozen=True):
    """`notrack`."""


class Limit(Struct, frozen=True):
    """`limit rate …`, `quota …`, `connlimit`: matches as long as a budget lasts. `text` as printed."""

    text: str


class Aside(Struct, frozen=True):
    """A statement that changes nothing of a packet's way: `counter`, `log`, `comment`, `flow add`, `dup`, …"""

    text: str


class UnknownStatement(Struct, frozen=True):
    """A statement that the grammar here does not know (`xt match "recent"`, …), as printed."""

    text: str


Statement = (
    Match | Verdict | VerdictMap | Assign | Translate | Reject | SetChange | Untrack | Limit | Aside | UnknownStatement
)


class NftRule(Struct, frozen=True, kw_only=True):
    """One rule. `line` is the 1-based line of the dump (JSON dumps are mostly one line), `text` the rule in nft's text
    form without its comment; `handle` is the kernel's number for it, where printed."""

    chain: str
    line: int
    text: str
    statements: tuple[Statement, ...]
    comment: str | None = None
    handle: int | None = None


class Hook(Struct, frozen=True, kw_only=True):
    """Where a base chain is hooked in. `type` is `filter`, `nat` or `route`; `hook` is lower case (`prerouting`)."""

    type: str
    hook: str
    priority: int


class NftChain(Struct, frozen=True, kw_only=True):
    """A chain. `hook` is None for a user chain, `policy` is `accept` or `drop` for a base chain."""

    name: str
    rules: tuple[NftRule, ...]
    hook: Hook | None = None
    policy: str | None = None
    line: int = 0


class NftSet(Struct, frozen=True, kw_only=True):
    """A named set or map: elements as key, value (None in a set).

    `key_types` are the parts of its key as printed (`ipv4_addr`, `inet_proto`, `inet_service`); `value_type` is
    `verdict` or a type, None for a set. `flags` e.g. `interval`, `timeout`, `dynamic`; `timeout_s` the default of its
    elements. `listed` is False where the dump leaves the elements out (`--terse`). Elements that were added from the
    packet path (affinity) are elements like others.
    """

    name: str
    key_types: tuple[str, ...]
    value_type: str | None = None
    elements: tuple[tuple[Expression, Expression | Verdict | None], ...] = ()
    flags: frozenset[str] = frozenset()
    timeout_s: int | None = None
    listed: bool = True
    line: int = 0
    comments: Mapping[Expression, str] = field(default_factory=dict)
    """Comments of single elements, by key."""


class NftTable(Struct, frozen=True, kw_only=True):
    """A table of one address family (`ip`, `ip6`, `inet`, `arp`, `bridge`, `netdev`)."""

    family: str
    name: str
    chains: Mapping[str, NftChain]
    sets: Mapping[str, NftSet]
    flags: frozenset[str] = frozenset()
    """`dormant` (its base chains are not hooked in), `owner`, `persist`."""
    line: int = 0


class NftUnread(Struct, frozen=True, kw_only=True):
    """Something in the dump that is not in the grammar, and where it stood."""

    line: int
    text: str
    reason: str


class NftRuleset(Struct, frozen=True, kw_only=True):
    """Everything that `nft list ruleset` showed. `complete` is False if the text ended inside a table."""

    source: str
    tables: tuple[NftTable, ...]
    unread: tuple[NftUnread, ...] = ()
    complete: bool = True
    version: str | None = None

    def table(self, family: str, name: str) -> NftTable | None:
        """The table, or None if the dump has no such table."""
        return next((item for item in self.tables if item.family == family and item.name == name), None)
