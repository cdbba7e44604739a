"""How `iptables -L` prints the options of match modules, turned into those of `iptables-save`."""

from __future__ import annotations

import re
from collections.abc import Callable

from kdiag.parse.iptables_list_tail import Tail
from kdiag.parse.service_names import port_number

_PORTS = re.compile(r"(spt|dpt)s?:(!?)(.+)")
_FLAGS = re.compile(r"flags:(!?)(.+)/(.+)")
_FLAG_BITS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
_LIMIT_BURST_DEFAULT = "5"
_CONNTRACK = frozenset(
    (
        "ctstate", "ctproto", "ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst", "ctorigsrcport", "ctorigdstport",
        "ctreplsrcport", "ctrepldstport", "ctstatus", "ctexpire", "ctdir",
    )
)  # fmt: skip
_ADDRTYPE = {"src-type": "src-type", "dst-type": "dst-type"}
_ADDRTYPE_LIMITS = {"limit-in": "limit-iface-in", "limit-out": "limit-iface-out"}
_RECENT = {"SET": "set", "CHECK": "rcheck", "UPDATE": "update", "REMOVE": "remove"}
_PHYSDEV_NAMES = ("physdev-in", "physdev-out")
_PHYSDEV_FLAGS = ("physdev-is-in", "physdev-is-out", "physdev-is-bridged")
_SET_COUNTERS = ("packets-eq", "packets-lt", "packets-gt", "bytes-eq", "bytes-lt", "bytes-gt")
_SET_FLAGS = ("return-nomatch", "update-counters", "update-subcounters")
_HASHLIMIT = {
    "burst": "hashlimit-burst",
    "mode": "hashlimit-mode",
    "srcmask": "hashlimit-srcmask",
    "dstmask": "hashlimit-dstmask",
    "htable-size": "hashlimit-htable-size",
    "htable-max": "hashlimit-htable-max",
    "htable-gcinterval": "hashlimit-htable-gcinterval",
    "htable-expire": "hashlimit-htable-expire",
}
_POLICY = ("reqid", "spi", "proto", "mode", "tunnel-src", "tunnel-dst")


def read_match(tail: Tail) -> bool:
    """Read one match at the cursor; False, with the cursor where it was, if there is none that is known."""
    start = tail.index
    negated = tail.take_if("!")
    reader = _READERS.get(tail.peek())
    if reader is not None and reader(tail, negated):
        return True
    tail.index = start
    return False


def _ported(tail: Tail, negated: bool) -> bool:
    """`tcp spt:1024 dpts:80:90 flags:0x17/0x02`; a port whose name is not known goes to the unknown words."""
    if negated:
        return False
    module = tail.take()
    tail.modules.append(module)
    while word := tail.peek():
        if found := _PORTS.fullmatch(word):
            ports = _port_range(found[3])
            option = "sport" if found[1] == "spt" else "dport"
            if ports is None:
                tail.unknown += (["!"] if found[2] else []) + [f"--{option}", found[3]]
            else:
                tail.match(module, option, ports, negated=bool(found[2]))
        elif found := _FLAGS.fullmatch(word):
            tail.match(module, "tcp-flags", _flag_names(found[2]), _flag_names(found[3]), negated=bool(found[1]))
        else:
            break
        tail.index += 1
    return True


def _port_range(text: str) -> str | None:
    numbers = [port_number(part) for part in text.split(":")]
    known = [number for number in numbers if number is not None]
    return ":".join(known) if len(known) == len(numbers) else None


def _flag_names(text: str) -> str:
    """TCP flags as iptables-save names them; numbers are bits in the order of the header."""
    if not text.startswith("0x"):
        return text
    try:
        bits = int(text, 16)
    except ValueError:
        return text
    return ",".join(flag for place, flag in enumerate(_FLAG_BITS) if bits >> place & 1) or "NONE"


def _multiport(tail: Tail, negated: bool) -> bool:
    """`multiport dports 80,443,8000:8100`, `multiport dports  !80`."""
    tail.index += 1
    option = tail.take()
    text, inverted = tail.take_value()
    if option not in ("sports", "dports", "ports") or not text:
        return False
    tail.modules.append("multiport")
    ranges = [_port_range(part) for part in text.split(",")]
    known = [ports for ports in ranges if ports is not None]
    if len(known) == len(ranges):
        tail.match("multiport", option, ",".join(known), negated=negated or inverted)
    else:
        tail.unknown += (["!"] if negated or inverted else []) + [f"--{option}", text]
    return True


def _address_type(tail: Tail, negated: bool) -> bool:
    """`ADDRTYPE match src-type !LOCAL dst-type LOCAL limit-in`."""
    if negated or not tail.take_if("ADDRTYPE", "match"):
        return False
    tail.modules.append("addrtype")
    while True:
        word = tail.peek()
        if word in _ADDRTYPE:
            tail.index += 1
            kinds, inverted = tail.take_value()
            tail.match("addrtype", _ADDRTYPE[word], kinds, negated=inverted)
        elif word in _ADDRTYPE_LIMITS:
            tail.index += 1
            tail.match("addrtype", _ADDRTYPE_LIMITS[word])
        else:
            return True


def _conntrack(tail: Tail, negated: bool) -> bool:
    """`ctstate NEW`, `! ctstate INVALID ctorigdst 10.96.0.1`: any of them, of one match."""
    tail.modules.append("conntrack")
    while True:
        option = tail.take()
        value, inverted = tail.take_value()
        tail.match("conntrack", option, *([value] if value else []), negated=negated or inverted)
        if tail.peek() in _CONNTRACK:
            negated = False
        elif tail.peek() == "!" and tail.peek(1) in _CONNTRACK:
            tail.index += 1
            negated = True
        else:
            return True


def _one_value(module: str, option: str, *label: str) -> Callable[[Tail, bool], bool]:
    """A match that is printed as its label and a value, with a `!` before either."""

    def read(tail: Tail, negated: bool) -> bool:
        if not tail.take_if(*label):
            return False
        value, inverted = tail.take_value()
        if not value:
            return False
        tail.modules.append(module)
        tail.match(module, option, value, negated=negated or inverted)
        return True

    return read


def _statistic(tail: Tail, negated: bool) -> bool:
    """`statistic mode random ! probability 0.5`, `statistic mode nth every 3 packet 1`."""
    tail.index += 1
    if negated or not tail.take_if("mode"):
        return False
    mode = tail.take()
    inverted = tail.take_if("!")
    first = tail.peek()
    if first not in ("probability", "every") or not tail.peek(1):
        return False
    tail.modules.append("statistic")
    tail.match("statistic", "mode", mode)
    tail.match("statistic", tail.take(), tail.take(), negated=inverted)
    if tail.peek() == "packet" and tail.peek(1):
        tail.match("statistic", tail.take(), tail.take())
    return True


def _recent(tail: Tail, negated: bool) -> bool:
    """`recent: CHECK seconds: 10800 reap hit_count: 5 TTL-Match name: LIST side: source mask: 255.255.255.255`."""
    tail.index += 1
    action = _RECENT.get(tail.take())
    if action is None:
        return False
    tail.modules.append("recent")
    tail.match("recent", action, negated=negated)
    side = None
    while True:
        match tail.peek():
            case "seconds:" | "hit_count:" | "name:" | "mask:" as label:
                tail.index += 1
                option = "hitcount" if label == "hit_count:" else label[:-1]
                tail.match("recent", option, tail.take())
            case "reap":
                tail.index += 1
                tail.match("recent", "reap")
            case "TTL-Match":
                tail.index += 1
                tail.match("recent", "rttl")
            case "side:":
                tail.index += 1
                side = "rdest" if tail.take() == "dest" else "rsource"
            case _:
                break
    if side is not None:
        # The listing has the side before the mask, iptables-save behind it.
        tail.match("recent", side)
    return True


def _mark(module: str) -> Callable[[Tail, bool], bool]:
    return lambda tail, negated: _one_value(module, "mark", tail.peek(), "match")(tail, negated)


def _physdev(tail: Tail, negated: bool) -> bool:
    """`PHYSDEV match --physdev-in eth0 ! --physdev-is-in`."""
    if negated or not tail.take_if("PHYSDEV", "match"):
        return False
    tail.modules.append("physdev")
    while True:
        inverted = tail.peek() == "!" and tail.peek(1).startswith("--physdev")
        option = tail.peek(1 if inverted else 0).removeprefix("--")
        if option in _PHYSDEV_FLAGS:
            tail.index += 2 if inverted else 1
            tail.match("physdev", option, negated=inverted)
        elif option in _PHYSDEV_NAMES:
            tail.index += 2 if inverted else 1
            tail.match("physdev", option, tail.take(), negated=inverted)
        else:
            return True


def _ipset(tail: Tail, negated: bool) -> bool:
    """`match-set NAME src,dst`, with `return-nomatch` and counters behind it."""
    tail.index += 1
    set_name, directions = tail.take(), tail.take()
    if not directions:
        return False
    tail.modules.append("set")
    tail.match("set", "match-set", set_name, directions, negated=negated)
    while True:
        inverted = tail.peek() == "!"
        option = tail.peek(1 if inverted else 0)
        if option in _SET_FLAGS:
            tail.index += 2 if inverted else 1
            tail.match("set", option, negated=inverted)
        elif option in _SET_COUNTERS:
            tail.index += 2 if inverted else 1
            tail.match("set", option, tail.take(), negated=inverted)
        else:
            return True


def _limit(tail: Tail, negated: bool) -> bool:
    """`limit: avg 5/min burst 5` is of module limit, `limit: up to …` and `limit: above …` of hashlimit."""
    tail.index += 1
    if negated:
        return False
    if tail.take_if("avg") and tail.peek():
        tail.modules.append("limit")
        tail.match("limit", "limit", tail.take())
        if tail.take_if("burst"):
            burst = tail.take()
            if burst != _LIMIT_BURST_DEFAULT:
                tail.match("limit", "limit-burst", burst)
        return True
    option = "hashlimit-upto" if tail.take_if("up", "to") else "hashlimit-above" if tail.take_if("above") else ""
    if not option or not tail.peek():
        return False
    tail.modules.append("hashlimit")
    tail.match("hashlimit", option, tail.take())
    while (word := tail.peek()) in _HASHLIMIT and tail.peek(1):
        tail.index += 1
        value = tail.take()
        if word != "burst" or value != _LIMIT_BURST_DEFAULT:
            tail.match("hashlimit", _HASHLIMIT[word], value)
    return True


def _icmp(module: str, option: str) -> Callable[[Tail, bool], bool]:
    """`icmptype 3 code 4` with -n, `icmp echo-request` without."""

    def read(tail: Tail, negated: bool) -> bool:
        tail.index += 1
        kind, inverted = tail.take_value()
        if not kind:
            return False
        if tail.peek() == "code" and tail.peek(1):
            tail.index += 1
            kind = f"{kind}/{tail.take()}"
        tail.modules.append(module)
        tail.match(module, option, kind, negated=negated or inverted)
        return True

    return read


def _owner(tail: Tail, negated: bool) -> bool:
    """`owner UID match 1337`, `! owner GID match 0`, `owner socket exists`."""
    if tail.take_if("owner", "socket", "exists"):
        option = "socket-exists"
    elif tail.take_if("owner", "UID", "match") and tail.peek():
        option = "uid-owner"
    elif tail.take_if("owner", "GID", "match") and tail.peek():
        option = "gid-owner"
    else:
        return False
    tail.modules.append("owner")
    tail.match("owner", option, *([] if option == "socket-exists" else [tail.take()]), negated=negated)
    return True


def _packet_type(tail: Tail, negated: bool) -> bool:
    """`PKTTYPE = multicast`, `PKTTYPE != host`."""
    tail.index += 1
    sign, kind = tail.take(), tail.take()
    if sign not in ("=", "!=") or not kind:
        return False
    tail.modules.append("pkttype")
    tail.match("pkttype", "pkt-type", kind, negated=negated or sign == "!=")
    return True


def _flags_of(module: str, *names: str) -> Callable[[Tail, bool], bool]:
    """A match that is printed as its name and flags."""

    def read(tail: Tail, negated: bool) -> bool:
        tail.index += 1
        if negated:
            return False
        tail.modules.append(module)
        while (flag := tail.peek().removeprefix("--")) in names:
            tail.index += 1
            tail.match(module, flag)
        return True

    return read


def _policy(tail: Tail, negated: bool) -> bool:
    """`policy match dir in pol ipsec mode tunnel`."""
    if negated or not tail.take_if("policy", "match", "dir"):
        return False
    direction = tail.take()
    if not tail.take_if("pol") or not tail.peek():
        return False
    tail.modules.append("policy")
    tail.match("policy", "dir", direction)
    tail.match("policy", "pol", tail.take())
    if tail.take_if("strict"):
        tail.match("policy", "strict")
    while tail.peek() in _POLICY and tail.peek(1):
        option = tail.take()
        value, inverted = tail.take_value()
        tail.match("policy", option, value, negated=inverted)
    return True


_READERS: dict[str, Callable[[Tail, bool], bool]] = {
    "tcp": _ported,
    "udp": _ported,
    "sctp": _ported,
    "dccp": _ported,
    "udplite": _ported,
    "multiport": _multiport,
    "ADDRTYPE": _address_type,
    **dict.fromkeys(_CONNTRACK, _conntrack),
    "state": _one_value("state", "state", "state"),
    "statistic": _statistic,
    "recent:": _recent,
    "mark": _mark("mark"),
    "MARK": _mark("mark"),
    "connmark": _mark("connmark"),
    "CONNMARK": _mark("connmark"),
    "PHYSDEV": _physdev,
    "match-set": _ipset,
    "limit:": _limit,
    "nfacct-name": _one_value("nfacct", "nfacct-name", "nfacct-name"),
    "icmptype": _icmp("icmp", "icmp-type"),
    "icmp": _icmp("icmp", "icmp-type"),
    "ipv6-icmptype": _icmp("icmp6", "icmpv6-type"),
    "ipv6-icmp": _icmp("icmp6", "icmpv6-type"),
    "owner": _owner,
    "source": _one_value("iprange", "src-range", "source", "IP", "range"),
    "destination": _one_value("iprange", "dst-range", "destination", "IP", "range"),
    "length": _one_value("length", "length", "length"),
    "MAC": _one_value("mac", "mac-source", "MAC"),
    "PKTTYPE": _packet_type,
    "DSCP": _one_value("dscp", "dscp", "DSCP", "match"),
    "TOS": _one_value("tos", "tos", "TOS", "match"),
    "tcpmss": _one_value("tcpmss", "mss", "tcpmss", "match"),
    "rpfilter": _flags_of("rpfilter", "loose", "validmark", "accept-local", "invert"),
    "socket": _flags_of("socket", "nowildcard", "transparent", "restore-skmark"),
    "policy": _policy,
}
