"""Random rule sets over what the walker claims to know, in the format of `iptables-restore`.

Only the first packet of a connection is judged, so each built-in chain but those of nat begins with rules that let all
other packets pass: what happens to answers is no part of the question.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

from kdiag.model.addresses import Family
from tests.proof.lab import PORTS, SITES, Site

HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
NO_IN = ("OUTPUT", "POSTROUTING")
NO_OUT = ("PREROUTING", "INPUT")
INTERFACES = ("cni0", "eth0", "eth1", "lo", "eth+", "cni+", "veth1", "docker0")


def empty(tables: Collection[str] = tuple(HOOKS)) -> str:
    """The rule set without a rule."""
    lines = []
    for table in tables:
        lines += [f"*{table}", *(f":{hook} ACCEPT [0:0]" for hook in HOOKS[table]), "COMMIT"]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a rule is written: its table, and the hooks that may lead there."""

    table: str
    hooks: tuple[str, ...]
    built_in: bool


Word = Callable[[random.Random, Site, Place], str]


def _negated(rng: random.Random) -> str:
    return "! " if rng.random() < 0.25 else ""


def _destinations(site: Site) -> tuple[str, ...]:
    wide = (
        ("10.96.0.0/16", "10.244.0.0/16", "10.0.0.0/8") if site.family is Family.IPV4 else ("fd00:96::/32", "fd00::/8")
    )
    return (*site.services, *site.services, *site.services, *site.node_addresses, site.server, *site.backends, *wide)


def _sources(site: Site) -> tuple[str, ...]:
    wide = ("10.244.1.0/24", "192.168.50.0/24") if site.family is Family.IPV4 else ("fd00:244:1::/64", "fd00:50::/64")
    return (*site.pods, *site.outside, site.node_outside, *wide)


def _source(rng: random.Random, site: Site, _: Place) -> str:
    return f"{_negated(rng)}-s {rng.choice(_sources(site))}"


def _destination(rng: random.Random, site: Site, _: Place) -> str:
    return f"{_negated(rng)}-d {rng.choice(_destinations(site))}"


def _in_interface(rng: random.Random, _: Site, place: Place) -> str:
    if place.built_in and place.hooks[0] in NO_IN:
        return ""
    return f"{_negated(rng)}-i {rng.choice(INTERFACES)}"


def _out_interface(rng: random.Random, _: Site, place: Place) -> str:
    if place.built_in and place.hooks[0] in NO_OUT:
        return ""
    return f"{_negated(rng)}-o {rng.choice(INTERFACES)}"


def _protocol(rng: random.Random, _: Site, __: Place) -> str:
    return rng.choice(("-p tcp", "-p tcp", "! -p udp", "! -p tcp", "-p udp"))


def _port(rng: random.Random) -> str:
    return str(rng.choice(PORTS))


def _destination_port(rng: random.Random, _: Site, __: Place) -> str:
    value = rng.choice((_port(rng), _port(rng), "80:81", ":1000", "8000:"))
    return f"-p tcp -m tcp {_negated(rng)}--dport {value}"


def _source_port(rng: random.Random, _: Site, __: Place) -> str:
    return f"-p tcp -m tcp {rng.choice(('--sport 1:65535', '! --sport 22', '--sport 1024:65535'))}"


def _several_ports(rng: random.Random, _: Site, __: Place) -> str:
    value = rng.choice((f"{_port(rng)},{_port(rng)}", "79:81,9000", "443,8443"))
    option = rng.choice(("--dports", "--dports", "--ports"))
    return f"-p tcp -m multiport {_negated(rng)}{option} {value}"


def _flags(rng: random.Random, _: Site, __: Place) -> str:
    words = (
        "--syn",
        "! --syn",
        "--tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE",
        "--tcp-flags SYN,ACK SYN",
        "! --tcp-flags SYN,RST SYN",
        "--tcp-flags ALL SYN",
        "--tcp-flags RST RST",
    )
    return f"-p tcp -m tcp {rng.choice(words)}"


def _mark(rng: random.Random, _: Site, place: Place) -> str:
    return (
        f"-m mark {_negated(rng)}--mark {rng.choice(('0x1/0x1', '0x2/0x2', '0x0/0x4', '0x3', '0x4000/0x4000', '0x0'))}"
    )


def _connection_mark(rng: random.Random, _: Site, place: Place) -> str:
    return f"-m connmark {_negated(rng)}--mark {rng.choice(('0x1/0x1', '0x2/0x2', '0x0/0x4', '0x3', '0x0'))}"


def _state(rng: random.Random, _: Site, __: Place) -> str:
    states = ("NEW", "NEW", "NEW,ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "DNAT", "UNTRACKED", "NEW,UNTRACKED")
    if rng.random() < 0.2:
        return f"-m state {_negated(rng)}--state {rng.choice(('NEW', 'RELATED,ESTABLISHED', 'INVALID', 'UNTRACKED'))}"
    return f"-m conntrack {_negated(rng)}--ctstate {rng.choice(states)}"


def _connection(rng: random.Random, site: Site, _: Place) -> str:
    words = (
        f"--ctorigdst {rng.choice(site.services)}",
        f"--ctorigdst {rng.choice(site.node_addresses)}",
        f"--ctorigsrc {rng.choice(_sources(site))}",
        f"--ctorigdstport {_port(rng)}",
        "--ctdir ORIGINAL",
        "--ctdir REPLY",
    )
    word = rng.choice(words)
    # iptables has no negated --ctdir.
    return f"-m conntrack {'' if 'ctdir' in word else _negated(rng)}{word}"


def _address_type(rng: random.Random, site: Site, place: Place) -> str:
    kinds = ("LOCAL", "LOCAL", "UNICAST", "MULTICAST", "LOCAL,MULTICAST", "LOCAL,UNICAST")
    return f"-m addrtype {_negated(rng)}--{rng.choice(('dst', 'dst', 'src'))}-type {rng.choice(kinds)}"


def _address_range(rng: random.Random, site: Site, _: Place) -> str:
    if rng.random() < 0.5:
        return f"-m iprange {_negated(rng)}--src-range {rng.choice(site.pods)}-{site.server}"
    return f"-m iprange {_negated(rng)}--dst-range {site.services[0]}-{site.services[1]}"


def _chance(rng: random.Random, _: Site, __: Place) -> str:
    value = rng.choice(("0.5", "0.33333333349", "1", "0"))
    return f"-m statistic --mode random {_negated(rng)}--probability {value}"


def _packet_type(rng: random.Random, _: Site, __: Place) -> str:
    return f"-m pkttype {_negated(rng)}--pkt-type {rng.choice(('unicast', 'multicast'))}"


def _bridge_port(rng: random.Random, _: Site, place: Place) -> str:
    if place.hooks[0] != "PREROUTING":
        return ""
    return f"-m physdev {_negated(rng)}--physdev-is-in"


def _reverse_path(rng: random.Random, _: Site, place: Place) -> str:
    if place.hooks != ("PREROUTING",) or place.table == "nat":
        return ""
    return f"-m rpfilter{rng.choice(('', ' --invert', ' --loose'))}"


def _security_policy(rng: random.Random, _: Site, place: Place) -> str:
    if place.hooks not in (("PREROUTING",), ("INPUT",), ("FORWARD",)):
        return ""
    return f"-m policy --dir in --pol {rng.choice(('none', 'ipsec'))}"


def _comment(rng: random.Random, _: Site, __: Place) -> str:
    return '-m comment --comment "said in passing; -j DROP"'


def _undecidable(rng: random.Random, _: Site, __: Place) -> str:
    return rng.choice(("-m length --length 0:9000", "-m length --length 9001", "-m limit --limit 5000/sec"))


MATCHES: dict[str, tuple[Word, int]] = {
    "source": (_source, 8),
    "destination": (_destination, 8),
    "in interface": (_in_interface, 4),
    "out interface": (_out_interface, 4),
    "protocol": (_protocol, 3),
    "dport": (_destination_port, 6),
    "sport": (_source_port, 1),
    "multiport": (_several_ports, 2),
    "tcp flags": (_flags, 2),
    "mark": (_mark, 5),
    "connmark": (_connection_mark, 2),
    "state": (_state, 4),
    "conntrack": (_connection, 3),
    "addrtype": (_address_type, 4),
    "iprange": (_address_range, 2),
    "statistic": (_chance, 1),
    "pkttype": (_packet_type, 1),
    "physdev": (_bridge_port, 1),
    "rpfilter": (_reverse_path, 1),
    "policy": (_security_policy, 1),
    "comment": (_comment, 1),
    "undecidable": (_undecidable, 1),
}
"""Matches by name: how to write one, and how often it is wanted."""
# These give `-p` themselves.
WITH_PROTOCOL = {"protocol", "dport", "sport", "multiport", "tcp flags"}


def _matches(rng: random.Random, site: Site, place: Place, known: Collection[str]) -> str:
    names = [name for name in MATCHES if name in known]
    weights = [MATCHES[name][1] for name in names]
    chosen: list[str] = []
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3))):
        name = rng.choices(names, weights)[0]
        if name in chosen or (name in WITH_PROTOCOL and WITH_PROTOCOL & set(chosen)):
            continue
        chosen.append(name)
    return " ".join(word for name in chosen if (word := MATCHES[name][0](rng, site, place)))


def _mark_target(rng: random.Random) -> str:
    words = (
        "MARK --set-xmark 0x1/0x1",
        "MARK --set-mark 0x2/0x3",
        "MARK --or-mark 0x4000",
        "MARK --and-mark 0xfffffffe",
        "MARK --xor-mark 0x3",
        "MARK --set-xmark 0x4000/0x0",
        "MARK --set-mark 0x3",
    )
    return rng.choice(words)


def _connection_mark_target(rng: random.Random) -> str:
    words = (
        "CONNMARK --save-mark",
        "CONNMARK --restore-mark",
        "CONNMARK --save-mark --nfmask 0x3 --ctmask 0x1",
        "CONNMARK --restore-mark --nfmask 0x2 --ctmask 0x3",
        "CONNMARK --set-xmark 0x2/0x2",
        "CONNMARK --set-mark 0x1/0x1",
    )
    return rng.choice(words)


def _place(site: Site, rng: random.Random) -> str:
    address = rng.choice((*site.backends, site.server))
    bracketed = f"[{address}]" if site.family is Family.IPV6 else address
    form = rng.random()
    if form < 0.15:
        return address
    if form < 0.2:
        return f":{_port(rng)}"
    return f"{bracketed}:{_port(rng)}"


def _target(rng: random.Random, site: Site, place: Place, matches: str, known: Collection[str]) -> str:
    tcp = "-p tcp" in matches and "! -p tcp" not in matches
    options: list[tuple[str, int]] = [("ACCEPT", 2), ("RETURN", 2), ("", 1)]
    options += [(_mark_target(rng), 5 if place.table == "mangle" else 2)] if place.table != "raw" else []
    if place.table == "mangle":
        options += [(_connection_mark_target(rng), 3), ("DROP", 1), ("TOS --set-tos 0x10/0xff", 1)]
    if place.table == "raw":
        options += [("CT --notrack", 1), ("DROP", 1), ("TRACE", 1)]
    if place.table == "filter":
        refusal = "icmp-port-unreachable" if site.family is Family.IPV4 else "icmp6-port-unreachable"
        options += [("DROP", 3), (f"REJECT --reject-with {refusal}", 3), ("NFLOG --nflog-group 7", 1)]
        options += [("REJECT --reject-with tcp-reset", 3)] if tcp else []
    if place.table == "nat":
        if set(place.hooks) <= {"PREROUTING", "OUTPUT"}:
            options += [(f"DNAT --to-destination {_place(site, rng)}", 8)] if tcp else []
            options += [("REDIRECT --to-ports " + _port(rng), 2), ("REDIRECT", 1)] if tcp else []
        elif place.hooks == ("POSTROUTING",):
            options += [("MASQUERADE", 6), (f"SNAT --to-source {site.node_outside}", 2)]
        elif place.hooks == ("INPUT",):
            options += [(f"SNAT --to-source {site.foreign_source}", 4)]
    options = [item for item in options if item[0].split(" ")[0] in known or item[0] in ("", "ACCEPT", "RETURN")]
    return rng.choices([text for text, _ in options], [weight for _, weight in options])[0]


TARGETS = (
    "MARK",
    "CONNMARK",
    "DROP",
    "REJECT",
    "CT",
    "TRACE",
    "TOS",
    "NFLOG",
    "DNAT",
    "REDIRECT",
    "MASQUERADE",
    "SNAT",
)


def _rule(rng: random.Random, site: Site, place: Place, chain: str, inner: list[str], known: Collection[str]) -> str:
    matches = _matches(rng, site, place, known)
    translates = place.table == "nat" and set(place.hooks) <= {"PREROUTING", "OUTPUT"}
    if translates and "-p " not in matches and rng.random() < 0.8:
        matches = f"{matches} -p tcp".strip()
    if inner and rng.random() < 0.4:
        return f"-A {chain} {matches} {rng.choice(('-j', '-j', '-j', '-g'))} {rng.choice(inner)}"
    target = _target(rng, site, place, matches, known)
    return f"-A {chain} {matches} {'-j ' + target if target else ''}".rstrip()


def _hook_groups(table: str) -> tuple[tuple[str, ...], ...]:
    """Hooks that may share user chains: targets of nat belong to a hook."""
    if table == "nat":
        return (("PREROUTING", "OUTPUT"), ("POSTROUTING",), ("INPUT",))
    if table == "mangle":
        return (("PREROUTING",), ("INPUT", "FORWARD", "OUTPUT", "POSTROUTING"))
    return (HOOKS[table],)


def generate(rng: random.Random, site: Site, known: Collection[str]) -> str:
    """One rule set. `known` are the names of MATCHES and TARGETS that may be used."""
    answers = "ipv6-icmp" if site.family is Family.IPV6 else "icmp"
    lines: list[str] = []
    for table, hooks in HOOKS.items():
        drops = table == "filter" and rng.random() < 0.1
        lines.append(f"*{table}")
        lines += [f":{hook} {'DROP' if drops and hook == 'FORWARD' else 'ACCEPT'} [0:0]" for hook in hooks]
        rules: list[str] = []
        if table != "nat":
            for hook in hooks:
                rules += [f"-A {hook} -p {answers} -j ACCEPT", f"-A {hook} -p tcp -m tcp ! --syn -j ACCEPT"]
        busy = {"raw": 0.3, "mangle": 0.6, "nat": 1.0, "filter": 0.9}[table]
        for number, group in enumerate(_hook_groups(table)):
            if rng.random() > busy:
                continue
            inner = [f"{table.upper()}-{number}-{index}" for index in range(rng.choice((0, 1, 2, 3)))]
            lines += [f":{chain} - [0:0]" for chain in inner]
            for hook in group:
                place = Place(table=table, hooks=(hook,), built_in=True)
                for _ in range(rng.choice((0, 1, 2, 3, 4))):
                    rules.append(_rule(rng, site, place, hook, inner, known))
            for index, chain in enumerate(inner):
                place = Place(table=table, hooks=group, built_in=False)
                for _ in range(rng.choice((1, 2, 3, 4, 12))):
                    rules.append(_rule(rng, site, place, chain, inner[index + 1 :], known))
        lines += [*rules, "COMMIT"]
    return "\n".join(lines) + "\n"


def what_is_known(accepts: Callable[[Site, str], bool]) -> frozenset[str]:
    """The matches and targets that a machine takes in both families; `accepts` tries a rule set."""
    names = (*MATCHES, *TARGETS)
    if all(accepts(site, _samples(names, site)) for site in SITES.values()):
        return frozenset(names)
    return frozenset(name for name in names if all(accepts(site, _samples((name,), site)) for site in SITES.values()))


def _samples(names: Collection[str], site: Site) -> str:
    """A rule for each name."""
    rng = random.Random(7)
    place = Place(table="mangle", hooks=("PREROUTING",), built_in=False)
    rules: dict[str, list[str]] = {table: [] for table in HOOKS}
    for name in names:
        if name in MATCHES:
            rules["mangle"].append(f"-A TRIED {MATCHES[name][0](rng, site, place)}")
        else:
            table, hook, text = _sample(name, site, rng)
            rules[table].append(f"-A {hook} -p tcp -j {text}")
    lines = []
    for table, found in rules.items():
        lines += [f"*{table}", *((":TRIED - [0:0]",) if table == "mangle" else ()), *found, "COMMIT"]
    return "\n".join(lines) + "\n"


def _sample(target: str, site: Site, rng: random.Random) -> tuple[str, str, str]:
    match target:
        case "MARK":
            return "mangle", "PREROUTING", _mark_target(rng)
        case "CONNMARK":
            return "mangle", "PREROUTING", _connection_mark_target(rng)
        case "CT":
            return "raw", "PREROUTING", "CT --notrack"
        case "TRACE":
            return "raw", "PREROUTING", target
        case "TOS":
            return "mangle", "PREROUTING", "TOS --set-tos 0x10/0xff"
        case "NFLOG":
            return "filter", "INPUT", "NFLOG --nflog-group 7"
        case "DNAT":
            return "nat", "PREROUTING", f"DNAT --to-destination {site.server}"
        case "REDIRECT":
            return "nat", "PREROUTING", "REDIRECT --to-ports 80"
        case "MASQUERADE":
            return "nat", "POSTROUTING", target
        case "SNAT":
            return "nat", "POSTROUTING", f"SNAT --to-source {site.node_outside}"
        case _:
            return "filter", "INPUT", target
