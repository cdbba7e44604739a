"""What nftables expressions are for a packet, and how they compare with what a rule or a set names.

A flow has one value for everything but its source: that is a set of addresses, so an expression that asks for it narrows
the flow instead. Sources: nft(8) 1.0.6 and the kernel's net/netfilter/nft_*.c.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from msgspec import Struct

from kdiag.model import nft
from kdiag.model.addresses import Family, family_of, parse_address, parse_network
from kdiag.walk.flow import Flow
from kdiag.walk.meaning import PORTED, SERVICE_PORTS, Surroundings
from kdiag.walk.network import NodeNetwork


class Lack(enum.Enum):
    """What an expression is where it has no value."""

    ABSENT = "absent"
    """The packet has no such field: the rule does not match."""
    UNKNOWN = "unknown"
    """Nothing in a dump says what it is."""


FieldValue = int | str | Lack
Read = Callable[[Flow], FieldValue]
Interval = tuple[int, int]
Constant = Interval | str
"""What an element or the right side of a match names: an inclusive range of numbers, or a word (`eth*` for any ending)."""

PROTOCOL_NUMBERS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "ipv6-icmp", 132: "sctp", 136: "udplite"}
PROTOCOL_WORDS = {"icmpv6": "ipv6-icmp"}
NETWORK_PROTOCOLS = {Family.IPV4: "ip", Family.IPV6: "ip6"}
# include/uapi/linux/if_packet.h names it host; nft(8) prints that, older releases unicast.
PACKET_TYPES = {"unicast": "host"}
TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
FULL = 0xFFFFFFFF


class Part(Struct, frozen=True):
    """One part of a key: how it is read from a flow, and how what is compared with it is understood.

    `read` None stands for the source address.
    """

    read: Read | None
    constant: Callable[[nft.Expression], tuple[Constant, ...] | None]


def parts_of(expression: nft.Expression, around: Surroundings) -> tuple[Part, ...]:
    """An expression, or the parts of a concatenation."""
    if isinstance(expression, nft.Concat):
        return tuple(_part(item, around) for item in expression.parts)
    return (_part(expression, around),)


def _part(expression: nft.Expression, around: Surroundings) -> Part:
    network = around.network
    match expression:
        case nft.Payload(protocol=("ip" | "ip6") as protocol, field=field):
            return _network_header(protocol, field, network)
        case nft.Payload(protocol=protocol, field="dport"):
            return Part(_port_of(protocol), _ports)
        case nft.Payload(protocol="tcp", field="flags"):
            # The first packet of a TCP connection has SYN set and nothing else.
            return Part(lambda flow: TCP_FLAGS["syn"] if flow.protocol == "tcp" else Lack.ABSENT, _numbers)
        case nft.Payload(protocol=("icmp" | "icmpv6")):
            return Part(_absent, _words)
        case nft.Payload():
            return Part(_unknown, _words)
        case nft.Meta(key=key):
            return _meta(key, network)
        case nft.Ct(key=key, direction=direction):
            return _connection(key, direction, network)
        case nft.Fib(result="type", flags=flags) if "daddr" in flags:
            kinds = _address_kinds(network)
            return Part(lambda flow: kinds(flow.destination), _words)
        case nft.Fib(result="type", flags=flags) if "saddr" in flags:
            return Part(None, _kinds_of_sources(network))
        case nft.Fib(result=("oif" | "oifname")):
            # Asked by reverse path filters: a packet that took the way back to its source passes them.
            return Part(lambda flow: "exists", _routes)
        case nft.Binary():
            return Part(number_of(expression, around), _numbers)
        case nft.Value(value=value):
            return Part(lambda flow: value, _numbers if isinstance(value, int) else _words)
        case _:
            return Part(_unknown, _words)


def _absent(_: Flow) -> FieldValue:
    return Lack.ABSENT


def _unknown(_: Flow) -> FieldValue:
    return Lack.UNKNOWN


def _network_header(protocol: str, field: str, network: NodeNetwork) -> Part:
    constant = _addresses(network.family)
    if protocol != NETWORK_PROTOCOLS[network.family]:
        return Part(_absent, _words)
    match field:
        case "saddr":
            return Part(None, constant)
        case "daddr":
            return Part(lambda flow: flow.destination, constant)
        case "protocol" | "nexthdr":
            return Part(lambda flow: flow.protocol, _protocols)
        case "version":
            number = 4 if network.family is Family.IPV4 else 6
            return Part(lambda flow: number, _numbers)
        case _:
            return Part(_unknown, _words)


def _port_of(protocol: str) -> Read:
    if protocol == "th":
        return lambda flow: flow.port if flow.protocol in PORTED else Lack.ABSENT
    return lambda flow: flow.port if flow.protocol == protocol else Lack.ABSENT


def _meta(key: str, network: NodeNetwork) -> Part:
    match key:
        case "l4proto":
            return Part(lambda flow: flow.protocol, _protocols)
        case "mark":
            return Part(lambda flow: flow.mark, _numbers)
        case "nfproto" | "protocol":
            words = ("ipv4", "ip") if network.family is Family.IPV4 else ("ipv6", "ip6")
            word = words[0] if key == "nfproto" else words[1]
            return Part(lambda flow: word, _words)
        case "iifname" | "iif":
            return Part(lambda flow: _only(flow.in_interfaces), _words)
        case "oifname" | "oif":
            return Part(lambda flow: _only(flow.out_interfaces), _words)
        case "pkttype":
            return Part(lambda flow: "host", _packet_types)
        case "skuid" | "skgid":
            # A packet from the wire has no process (nft_meta_get_eval_skugid).
            return Part(lambda flow: Lack.UNKNOWN if flow.local_origin else Lack.ABSENT, _words)
        case _:
            return Part(_unknown, _words)


def _only(names: frozenset[str] | None) -> FieldValue:
    return next(iter(names)) if names is not None and len(names) == 1 else Lack.UNKNOWN


def _connection(key: str, direction: str | None, network: NodeNetwork) -> Part:
    constant = _addresses(network.family)
    if direction == "reply":
        return Part(_unknown, _words)
    match key:
        case "state":
            return Part(lambda flow: "untracked" if flow.untracked else "new" if flow.seen else "invalid", _words)
        case "mark":
            return Part(lambda flow: flow.connmark if flow.seen and not flow.untracked else Lack.ABSENT, _numbers)
        case "direction":
            return Part(lambda flow: "original" if flow.seen and not flow.untracked else Lack.ABSENT, _words)
        case "daddr" | "ip daddr" | "ip6 daddr":
            return Part(
                lambda flow: flow.original_destination if flow.seen and not flow.untracked else Lack.ABSENT, constant
            )
        case "proto-dst":
            return Part(lambda flow: flow.original_port if flow.seen and not flow.untracked else Lack.ABSENT, _ports)
        case "protocol" | "l4proto":
            return Part(lambda flow: flow.protocol if flow.seen and not flow.untracked else Lack.ABSENT, _protocols)
        case _:
            return Part(_unknown, _words)


def _address_kinds(network: NodeNetwork) -> Callable[[int], str]:
    local, family = network.local, network.family

    def kind(address: int) -> str:
        if any(low <= address <= high for low, high in local.ranges):
            return "local"
        if address >> (family.bits - (4 if family is Family.IPV4 else 8)) == (0xE if family is Family.IPV4 else 0xFF):
            return "multicast"
        if family is Family.IPV4 and address == FULL:
            return "broadcast"
        return "unicast"

    return kind


def _kinds_of_sources(network: NodeNetwork) -> Callable[[nft.Expression], tuple[Constant, ...] | None]:
    """`fib saddr type local`: the addresses of a kind."""

    def read(expression: nft.Expression) -> tuple[Constant, ...] | None:
        match expression:
            case nft.Value(value="local"):
                return network.local.ranges
            case nft.Value(value="unicast"):
                return network.local.complement().ranges
            case nft.Value(value=("broadcast" | "multicast" | "anycast" | "blackhole" | "prohibit" | "unreachable")):
                # Never the source of a connection.
                return ()
            case _:
                return None

    return read


def number_of(expression: nft.Expression, around: Surroundings) -> Read:
    """A number worked out from marks and constants: `meta mark | 0x4000`."""
    match expression:
        case nft.Value(value=int() as value):
            return lambda flow: value
        case nft.Value(value=str() as text):
            named = constants_to_number(text)
            return (lambda flow: named) if named is not None else _unknown
        case nft.SetLiteral(elements=elements):
            return _flag_sum(elements)
        case nft.Binary(operator=operator, left=left, right=right):
            one, other = number_of(left, around), number_of(right, around)
            return lambda flow: _combine(operator, one(flow), other(flow))
        case _:
            part = _part(expression, around)
            return part.read or _unknown


def constants_to_number(text: str) -> int | None:
    """A word that stands for a number: `0x4000`, or a TCP flag."""
    if text in TCP_FLAGS:
        return TCP_FLAGS[text]
    try:
        return int(text, 0)
    except ValueError:
        return None


def _flag_sum(elements: tuple[nft.Expression, ...]) -> Read:
    total = 0
    for item in elements:
        number = (
            constants_to_number(item.value) if isinstance(item, nft.Value) and isinstance(item.value, str) else None
        )
        if number is None:
            return _unknown
        total |= number
    return lambda flow: total


def _combine(operator: str, one: FieldValue, other: FieldValue) -> FieldValue:
    if not isinstance(one, int) or not isinstance(other, int):
        return Lack.ABSENT if Lack.ABSENT in (one, other) else Lack.UNKNOWN
    match operator:
        case "&":
            return one & other
        case "|":
            return one | other
        case "^":
            return one ^ other
        case "<<":
            return (one << min(other, 32)) & FULL
        case ">>":
            return one >> other
        case _:
            return Lack.UNKNOWN


# -- what elements and right sides name --------------------------------------------------------------------------------


def _addresses(family: Family) -> Callable[[nft.Expression], tuple[Constant, ...] | None]:
    def read(expression: nft.Expression) -> tuple[Constant, ...] | None:
        match expression:
            case nft.Value(value=str() as text):
                address = parse_address(text)
                return None if address is None or family_of(address) is not family else ((int(address),) * 2,)
            case nft.Prefix(address=text, length=length):
                network = parse_network(f"{text}/{length}")
                if network is None or family_of(network) is not family:
                    return None
                return ((int(network.network_address), int(network.broadcast_address)),)
            case nft.Span(low=low, high=high):
                ends = (read(low), read(high))
                return _between(ends[0], ends[1])
            case nft.Wildcard():
                return ((0, (1 << family.bits) - 1),)
            case _:
                return None

    return read


def _between(low: tuple[Constant, ...] | None, high: tuple[Constant, ...] | None) -> tuple[Constant, ...] | None:
    if not low or not high or isinstance(low[0], str) or isinstance(high[0], str):
        return None
    return ((low[0][0], high[0][1]),)


def _numbers(expression: nft.Expression) -> tuple[Constant, ...] | None:
    match expression:
        case nft.Value(value=int() as value):
            return ((value, value),)
        case nft.Value(value=str() as text):
            number = constants_to_number(text)
            return None if number is None else ((number, number),)
        case nft.Span(low=low, high=high):
            return _between(_numbers(low), _numbers(high))
        case nft.Binary(operator=operator, left=left, right=right):
            # `syn|ack`.
            sides = (_numbers(left), _numbers(right))
            if not sides[0] or not sides[1] or isinstance(sides[0][0], str) or isinstance(sides[1][0], str):
                return None
            together = _combine(operator, sides[0][0][0], sides[1][0][0])
            return ((together, together),) if isinstance(together, int) else None
        case _:
            return None


def _ports(expression: nft.Expression) -> tuple[Constant, ...] | None:
    if isinstance(expression, nft.Value) and expression.value in SERVICE_PORTS:
        number = SERVICE_PORTS[str(expression.value)]
        return ((number, number),)
    return _numbers(expression)


def _protocols(expression: nft.Expression) -> tuple[Constant, ...] | None:
    match expression:
        case nft.Value(value=int() as number):
            return (PROTOCOL_NUMBERS.get(number, str(number)),)
        case nft.Value(value=str() as text):
            return (PROTOCOL_WORDS.get(text, text),)
        case _:
            return None


def _routes(expression: nft.Expression) -> tuple[Constant, ...] | None:
    """`fib saddr oif missing`, also printed as 0; which interface it is, is not followed."""
    match expression:
        case nft.Value(value=("missing" | 0)):
            return ("missing",)
        case nft.Value(value="exists"):
            return ("exists",)
        case _:
            return None


def _packet_types(expression: nft.Expression) -> tuple[Constant, ...] | None:
    words = _words(expression)
    return None if words is None else tuple(PACKET_TYPES.get(str(word), word) for word in words)


def _words(expression: nft.Expression) -> tuple[Constant, ...] | None:
    match expression:
        case nft.Value(value=value):
            return (str(value),)
        case _:
            return None


def holds(value: int | str, constant: Constant) -> bool:
    """True if a value is what a constant names."""
    if isinstance(constant, str):
        text = str(value)
        return text.startswith(constant[:-1]) if constant.endswith("*") else text == constant
    return isinstance(value, int) and constant[0] <= value <= constant[1]
