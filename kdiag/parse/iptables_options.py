"""Which iptables module an option belongs to, and the names of protocols.

The printed text names a module (`-m tcp`) in front of its options, but older rules and people leave it out, and a
comment may stand between the two.
"""

from __future__ import annotations

from functools import lru_cache

_PORTS = ("sport", "source-port", "dport", "destination-port")
_MODULE_OPTIONS: dict[str, tuple[str, ...]] = {
    "addrtype": ("src-type", "dst-type", "limit-iface-in", "limit-iface-out"),
    "bpf": ("bytecode", "object-pinned"),
    "cgroup": ("cgroup", "path"),
    "comment": ("comment",),
    "connbytes": ("connbytes", "connbytes-dir", "connbytes-mode"),
    "connlimit": ("connlimit-upto", "connlimit-above", "connlimit-mask", "connlimit-saddr", "connlimit-daddr"),
    "connmark": ("mark",),
    "conntrack": (
        "ctstate", "ctproto", "ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst", "ctorigsrcport", "ctorigdstport",
        "ctreplsrcport", "ctrepldstport", "ctstatus", "ctexpire", "ctdir",
    ),
    "dccp": (*_PORTS, "dccp-types", "dccp-option"),
    "dscp": ("dscp", "dscp-class"),
    "esp": ("espspi",),
    "hashlimit": (
        "hashlimit-upto", "hashlimit-above", "hashlimit-burst", "hashlimit-mode", "hashlimit-name", "hashlimit-srcmask",
        "hashlimit-dstmask", "hashlimit-htable-size", "hashlimit-htable-max", "hashlimit-htable-expire",
        "hashlimit-htable-gcinterval", "hashlimit", "hashlimit-rate-match", "hashlimit-rate-interval",
    ),
    "helper": ("helper",),
    "icmp": ("icmp-type",),
    "icmp6": ("icmpv6-type",),
    "iprange": ("src-range", "dst-range"),
    "length": ("length",),
    "limit": ("limit", "limit-burst"),
    "mac": ("mac-source",),
    "mark": ("mark",),
    "multiport": ("sports", "source-ports", "dports", "destination-ports", "ports"),
    "nfacct": ("nfacct-name",),
    "owner": ("uid-owner", "gid-owner", "socket-exists", "suppl-groups"),
    "physdev": ("physdev-in", "physdev-out", "physdev-is-in", "physdev-is-out", "physdev-is-bridged"),
    "pkttype": ("pkt-type",),
    "policy": ("dir", "pol", "strict", "reqid", "spi", "proto", "mode", "tunnel-src", "tunnel-dst", "next"),
    "quota": ("quota",),
    "recent": (
        "set", "rcheck", "update", "remove", "seconds", "hitcount", "rttl", "name", "rsource", "rdest", "mask", "reap",
    ),
    "rpfilter": ("loose", "validmark", "accept-local", "invert"),
    "sctp": (*_PORTS, "chunk-types"),
    "set": (
        "match-set", "set", "return-nomatch", "update-counters", "update-subcounters", "packets-eq", "packets-lt",
        "packets-gt", "bytes-eq", "bytes-lt", "bytes-gt",
    ),
    "socket": ("nowildcard", "transparent", "restore-skmark"),
    "state": ("state",),
    "statistic": ("mode", "probability", "every", "packet"),
    "string": ("from", "to", "algo", "string", "hex-string", "icase"),
    "tcp": (*_PORTS, "syn", "tcp-flags", "tcp-option"),
    "tcpmss": ("mss",),
    "time": ("timestart", "timestop", "datestart", "datestop", "monthdays", "weekdays", "kerneltz", "contiguous", "utc"),
    "tos": ("tos",),
    "ttl": ("ttl-eq", "ttl-gt", "ttl-lt"),
    "u32": ("u32",),
    "udp": _PORTS,
    "udplite": _PORTS,
}  # fmt: skip
"""Options by module, from iptables-extensions(8) of 1.8.9. A module that is not here may own any option."""

_KNOWN = {module: frozenset(options) for module, options in _MODULE_OPTIONS.items()}

_MODULE_OF_PROTOCOL = {"ipv6-icmp": "icmp6"}
"""The module that `-p` loads on its own, where it is not named like the protocol."""

FREE_TEXT_OPTIONS = frozenset(
    (
        "comment", "log-prefix", "nflog-prefix", "ulog-prefix", "nfacct-name", "hashlimit-name", "name", "string",
        "hex-string", "helper", "path", "u32", "bytecode", "label", "led-trigger-id",
    )
)  # fmt: skip
"""Options whose first value is text that somebody chose: it is the value even if it begins with a dash, which
iptables prints without quotes (xtables_save_string of 1.8.9 holds dashes harmless)."""

_PROTOCOL_NAMES = {
    "1": "icmp",
    "2": "igmp",
    "4": "ipencap",
    "6": "tcp",
    "17": "udp",
    "33": "dccp",
    "41": "ipv6",
    "47": "gre",
    "50": "esp",
    "51": "ah",
    "58": "ipv6-icmp",
    "89": "ospf",
    "103": "pim",
    "112": "vrrp",
    "132": "sctp",
    "135": "mobility-header",
    "136": "udplite",
    "icmpv6": "ipv6-icmp",
    "icmp6": "ipv6-icmp",
    "mh": "mobility-header",
    "ipv6-mh": "mobility-header",
    "ospfigp": "ospf",
    "ip-encap": "ipencap",
    "ipv4": "ipencap",
    "ipip": "ipencap",
    "ipv6-auth": "ah",
    "ipv6-crypt": "esp",
    "ipsec-ah": "ah",
    "ipsec-esp": "esp",
}
_ANY_PROTOCOL = ("all", "0", "ip", "any")


@lru_cache(maxsize=1024)
def protocol_name(text: str) -> str | None:
    """One spelling for each protocol: lower case, known numbers as names; None for any protocol."""
    lowered = text.lower()
    if lowered.isdigit():
        lowered = str(int(lowered)) if lowered.isascii() and len(lowered) < 20 else lowered
    return None if lowered in _ANY_PROTOCOL else _PROTOCOL_NAMES.get(lowered, lowered)


@lru_cache(maxsize=65536)
def module_of(option: str, modules: tuple[str, ...], protocol: str | None, target: str | None) -> str | None:
    """The match module that `option` belongs to; None if it belongs to `target` instead.

    In this order: the last named module that is known to have it, the protocol's own module if that has it (`-p tcp
    --dport 80` needs no `-m tcp`), the last named module of which nothing is known, the target if there is one. What is
    left goes to the last named module or the protocol, or has an empty module.
    """
    for module in reversed(modules):
        if option in _KNOWN.get(module, ()):
            return module
    implied = _MODULE_OF_PROTOCOL.get(protocol, protocol) if protocol else None
    if implied and option in _KNOWN.get(implied, ()):
        return implied
    for module in reversed(modules):
        if module not in _KNOWN:
            return module
    if target is not None:
        return None
    return modules[-1] if modules else implied or ""
