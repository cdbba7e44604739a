"""What the words and numbers of nft's output stand for: data types, symbols that `-n` and `-S` write otherwise, times.

Numbers are those of Linux (`linux/netfilter`, `linux/rtnetlink.h`); nft prints them in place of words with `-n` and
service names in place of port numbers with `-S` (measured with nft 1.0.6).
"""

from __future__ import annotations

import re

from kdiag.model.nft import Binary, Concat, Ct, Expression, Fib, Meta, Numgen, Payload, Prefix, Span, Value

Hint = str | tuple["Hint", ...] | None
"""The data type of an expression in nft's words (`inet_service`), one for each part of a concatenation."""

_PROTOCOLS = {
    0: "ip",
    1: "icmp",
    2: "igmp",
    4: "ipencap",
    6: "tcp",
    17: "udp",
    33: "dccp",
    41: "ipv6",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    89: "ospf",
    103: "pim",
    108: "ipcomp",
    112: "vrrp",
    132: "sctp",
    136: "udplite",
}
_WORDS: dict[str, dict[int, str]] = {
    "inet_proto": _PROTOCOLS,
    "ct_state": {1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"},
    "ct_status": {
        1: "expected",
        2: "seen-reply",
        4: "assured",
        8: "confirmed",
        16: "snat",
        32: "dnat",
        512: "dying",
    },
    "ct_dir": {0: "original", 1: "reply"},
    "fib_addrtype": {
        0: "unspec",
        1: "unicast",
        2: "local",
        3: "broadcast",
        4: "anycast",
        5: "multicast",
        6: "blackhole",
        7: "unreachable",
        8: "prohibit",
    },
    "fib_oif": {0: "missing", 1: "exists"},
    "nf_proto": {2: "ipv4", 10: "ipv6"},
    "pkt_type": {0: "host", 1: "broadcast", 2: "multicast", 3: "other"},
    "tcp_flag": {1: "fin", 2: "syn", 4: "rst", 8: "psh", 16: "ack", 32: "urg", 64: "ecn", 128: "cwr"},
}
_PORTS = {
    "ftp": 21,
    "ssh": 22,
    "telnet": 23,
    "smtp": 25,
    "domain": 53,
    "bootps": 67,
    "bootpc": 68,
    "tftp": 69,
    "http": 80,
    "kerberos": 88,
    "pop3": 110,
    "sunrpc": 111,
    "ntp": 123,
    "imap2": 143,
    "snmp": 161,
    "snmp-trap": 162,
    "bgp": 179,
    "ldap": 389,
    "https": 443,
    "microsoft-ds": 445,
    "isakmp": 500,
    "syslog": 514,
    "ldaps": 636,
    "imaps": 993,
    "pop3s": 995,
    "nfs": 2049,
    "iscsi-target": 3260,
    "mysql": 3306,
    "ipsec-nat-t": 4500,
    "mdns": 5353,
    "postgresql": 5432,
    "amqp": 5672,
    "redis": 6379,
    "http-alt": 8080,
}
_REJECT_CODES = {
    "icmp": {
        0: "net-unreachable",
        1: "host-unreachable",
        2: "prot-unreachable",
        3: "port-unreachable",
        9: "net-prohibited",
        10: "host-prohibited",
        13: "admin-prohibited",
    },
    "icmpv6": {
        0: "no-route",
        1: "admin-prohibited",
        3: "addr-unreachable",
        4: "port-unreachable",
        5: "policy-fail",
        6: "reject-route",
    },
    "icmpx": {0: "no-route", 1: "port-unreachable", 2: "host-unreachable", 3: "admin-prohibited"},
}
_REJECT_TYPES = {"ip": "icmp", "ip6": "icmpv6", "inet": "icmpx", "bridge": "icmpx", "netdev": "icmpx"}

BIT_TYPES = frozenset({"ct_state", "ct_status", "ct_label", "ct_event", "tcp_flag"})
"""Data types whose values are flags: a plain comparison asks for any of them (nft(8), "bitmask")."""
NAME_TYPES = frozenset({"ifname", "iface_index", "fib_oif", "string"})
"""Data types whose values stand in quotes in the text form."""

_META_TYPES = {
    "l4proto": "inet_proto",
    "mark": "mark",
    "nfproto": "nf_proto",
    "pkttype": "pkt_type",
    "iif": "iface_index",
    "oif": "iface_index",
    "sdif": "iface_index",
    **dict.fromkeys(("iifname", "oifname", "sdifname", "ibrname", "obrname", "iifkind", "oifkind"), "ifname"),
    **dict.fromkeys(("time", "hour", "day"), "string"),
}
_CT_TYPES = {
    "state": "ct_state",
    "status": "ct_status",
    "label": "ct_label",
    "event": "ct_event",
    "direction": "ct_dir",
    "mark": "mark",
    "helper": "string",
    "expiration": "time",
    "protocol": "inet_proto",
    "proto-src": "inet_service",
    "proto-dst": "inet_service",
}
_FIB_TYPES = {"type": "fib_addrtype", "oif": "fib_oif", "oifname": "ifname"}
_PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
_BRIDGE_PRIORITIES = {"dstnat": -300, "filter": -200, "out": 100, "srcnat": 300}
_TIME = re.compile(
    "".join(rf"(?:(\d{{1,18}}){unit})?" for unit in ("w", "d", "h", "m(?!s)", "s", "ms")),
    re.ASCII,
)
_NUMBER = re.compile(r"[0-9]{1,38}|0x[0-9a-f]{1,32}")
_SECONDS = (604800, 86400, 3600, 60, 1)


def data_type(expression: Expression) -> Hint:
    """The data type of an expression, None if nothing here depends on it."""
    match expression:
        case Payload(protocol, item):
            return _payload_type(protocol, item)
        case Meta(key):
            return _META_TYPES.get(key)
        case Ct(key):
            if key.endswith("addr") and key[:4] in ("ip s", "ip d", "ip6 "):
                return "ipv6_addr" if key.startswith("ip6") else "ipv4_addr"
            return _CT_TYPES.get(key)
        case Fib(result):
            return _FIB_TYPES.get(result)
        case Binary(_, left, _):
            return data_type(left)
        case Concat(parts):
            return tuple(data_type(part) for part in parts)
        case Numgen():
            return "integer"
    return None


def _payload_type(protocol: str, item: str) -> Hint:
    if item in ("saddr", "daddr"):
        return {"ip": "ipv4_addr", "ip6": "ipv6_addr", "ether": "ether_addr"}.get(protocol)
    if item in ("sport", "dport"):
        return "inet_service"
    if (protocol, item) in (("ip", "protocol"), ("ip6", "nexthdr")):
        return "inet_proto"
    return "tcp_flag" if (protocol, item) == ("tcp", "flags") else None


def worded(hint: Hint, value: str | int) -> str | int:
    """A value in nft's default writing: protocols and flags as words, ports as numbers.

    What is not in the tables here stays as it is.
    """
    if hint == "inet_service":
        return _PORTS.get(value, value) if isinstance(value, str) else value
    if isinstance(value, int) and isinstance(hint, str) and hint in _WORDS:
        return _WORDS[hint].get(value, value)
    return value


def default_reject(family: str) -> tuple[str | None, str | None]:
    """Type and code of the bare word `reject` in a table of that family (nft(8), "REJECT STATEMENT")."""
    kind = _REJECT_TYPES.get(family)
    return (kind, "port-unreachable") if kind else (None, None)


def reject_code(kind: str | None, code: str | int | None) -> str | None:
    """A reject code as a word; an unknown number stays a number, as text."""
    if isinstance(code, int):
        code = _REJECT_CODES.get(kind or "", {}).get(code, code)
    return None if code is None else str(code)


def priority_number(text: str, family: str) -> int | None:
    """A chain priority as number: `dstnat - 10`, `filter`, `-110`; None if it is none (nft(8), "CHAINS").

    The words differ in bridge tables.
    """
    found = re.fullmatch(r"(-?[0-9]{1,18})|([a-z]+)(?: ?([+-]) ?([0-9]{1,18}))?", text.strip())
    if found is None:
        return None
    if found[1]:
        return int(found[1])
    base = (_BRIDGE_PRIORITIES if family == "bridge" else _PRIORITIES).get(found[2])
    if base is None or found[3] is None:
        return base
    return base + int(found[4]) if found[3] == "+" else base - int(found[4])


def seconds(text: str) -> int | None:
    """A time as nft prints it (`1d2h`, `90s`, `10s500ms`) in whole seconds; None if it is none."""
    found = _TIME.fullmatch(text)
    if not text or found is None:
        return None
    return sum(int(number) * unit for number, unit in zip(found.groups(), _SECONDS, strict=False) if number)


def time_text(count: int) -> str:
    """Whole seconds as nft prints them: `3h`, `1m30s`, `0s`."""
    if count <= 0:
        return f"{count}s"
    words = []
    for unit, letter in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        number, count = divmod(count, unit)
        if number:
            words.append(f"{number}{letter}")
    return "".join(words)


def key_types(hint: Hint) -> tuple[str, ...]:
    """A `typeof` as the types that `type` would have named; `unknown` for a part that is not in the tables here."""
    if isinstance(hint, tuple):
        return tuple(name for part in hint for name in key_types(part))
    return (hint or "unknown",)


def scalar(text: str, hint: Hint) -> Expression:
    """One printed word as an expression: a number, a prefix, a range, or the word itself."""
    number = whole(text)
    if number is not None:
        return Value(worded(hint, number))
    if "/" in text:
        address, _, length = text.rpartition("/")
        bits = whole(length)
        if bits is not None and _is_address(address):
            return Prefix(address, bits)
    elif "-" in text:
        low, _, high = text.partition("-")
        if _is_range_end(low) and _is_range_end(high):
            return Span(scalar(low, hint), scalar(high, hint))
    return Value(worded(hint, text))


def _is_address(text: str) -> bool:
    return ":" in text or (text[:1].isdecimal() and "." in text)


def _is_range_end(text: str) -> bool:
    return whole(text) is not None or _is_address(text)


def whole(text: str) -> int | None:
    """A decimal number, or a hexadecimal one with `0x`; None if it is none, or one that no field can hold."""
    if not _NUMBER.fullmatch(text):
        return None
    return int(text, 16 if text[:2] == "0x" else 10)
