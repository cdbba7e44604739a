"""What a rule may ask of a packet, in the words of `iptables-restore`: every match that the walker claims to know."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from kdiag.model.addresses import Family
from tests.proof.lab import PORTS, Site

NO_IN = ("OUTPUT", "POSTROUTING")
NO_OUT = ("PREROUTING", "INPUT")
INTERFACES = ("cni0", "eth0", "eth1", "lo", "eth+", "cni+", "veth1", "docker0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a rule is written: its table, and the hooks that may lead there."""

    table: str
    hooks: tuple[str, ...]
    built_in: bool


Word = Callable[[random.Random, Site, Place], str]


def negated(rng: random.Random) -> str:
    """`! ` now and then."""
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
    return f"{negated(rng)}-s {rng.choice(_sources(site))}"


def _destination(rng: random.Random, site: Site, _: Place) -> str:
    return f"{negated(rng)}-d {rng.choice(_destinations(site))}"


def _in_interface(rng: random.Random, _: Site, place: Place) -> str:
    if place.built_in and place.hooks[0] in NO_IN:
        return ""
    return f"{negated(rng)}-i {rng.choice(INTERFACES)}"


def _out_interface(rng: random.Random, _: Site, place: Place) -> str:
    if place.built_in and place.hooks[0] in NO_OUT:
        return ""
    return f"{negated(rng)}-o {rng.choice(INTERFACES)}"


def _protocol(rng: random.Random, _: Site, __: Place) -> str:
    return rng.choice(("-p tcp", "-p tcp", "! -p udp", "! -p tcp", "-p udp"))


def port_number(rng: random.Random) -> str:
    """One of the ports that packets go to."""
    return str(rng.choice(PORTS))


def _destination_port(rng: random.Random, _: Site, __: Place) -> str:
    value = rng.choice((port_number(rng), port_number(rng), "80:81", ":1000", "8000:"))
    return f"-p tcp -m tcp {negated(rng)}--dport {value}"


def _other_port(rng: random.Random, _: Site, __: Place) -> str:
    protocol = rng.choice(("udp", "udp", "sctp", "sctp", "dccp"))
    if rng.random() < 0.2:
        return f"-p {protocol} -m {protocol} --sport 1:65535"
    return f"-p {protocol} -m {protocol} {negated(rng)}--dport {rng.choice((port_number(rng), '80:81', '8000:'))}"


def _source_port(rng: random.Random, _: Site, __: Place) -> str:
    if rng.random() < 0.3:
        return "-p tcp -m multiport --sports 1:65535"
    return f"-p tcp -m tcp {rng.choice(('--sport 1:65535', '! --sport 22', '--sport 1024:65535'))}"


def _several_ports(rng: random.Random, _: Site, __: Place) -> str:
    value = rng.choice((f"{port_number(rng)},{port_number(rng)}", "79:81,9000", "443,8443"))
    option = rng.choice(("--dports", "--dports", "--ports"))
    return f"-p tcp -m multiport {negated(rng)}{option} {value}"


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
        f"-m mark {negated(rng)}--mark {rng.choice(('0x1/0x1', '0x2/0x2', '0x0/0x4', '0x3', '0x4000/0x4000', '0x0'))}"
    )


def _connection_mark(rng: random.Random, _: Site, place: Place) -> str:
    return f"-m connmark {negated(rng)}--mark {rng.choice(('0x1/0x1', '0x2/0x2', '0x0/0x4', '0x3', '0x0'))}"


def _state(rng: random.Random, _: Site, __: Place) -> str:
    states = ("NEW", "NEW", "NEW,ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "DNAT", "UNTRACKED", "NEW,UNTRACKED")
    if rng.random() < 0.2:
        return f"-m state {negated(rng)}--state {rng.choice(('NEW', 'RELATED,ESTABLISHED', 'INVALID', 'UNTRACKED'))}"
    return f"-m conntrack {negated(rng)}--ctstate {rng.choice(states)}"


def _connection(rng: random.Random, site: Site, _: Place) -> str:
    words = (
        f"--ctorigdst {rng.choice(site.services)}",
        f"--ctorigdst {rng.choice(site.node_addresses)}",
        f"--ctorigsrc {rng.choice(_sources(site))}",
        f"--ctorigdstport {port_number(rng)}",
        "--ctdir ORIGINAL",
        "--ctdir REPLY",
        f"--ctproto {rng.choice(('tcp', 'udp', 'sctp'))}",
    )
    word = rng.choice(words)
    # iptables has no negated --ctdir.
    return f"-m conntrack {'' if 'ctdir' in word else negated(rng)}{word}"


def _address_type(rng: random.Random, site: Site, place: Place) -> str:
    kinds = ("LOCAL", "LOCAL", "UNICAST", "MULTICAST", "LOCAL,MULTICAST", "LOCAL,UNICAST")
    return f"-m addrtype {negated(rng)}--{rng.choice(('dst', 'dst', 'src'))}-type {rng.choice(kinds)}"


def _address_range(rng: random.Random, site: Site, _: Place) -> str:
    if rng.random() < 0.5:
        return f"-m iprange {negated(rng)}--src-range {rng.choice(site.pods)}-{site.server}"
    return f"-m iprange {negated(rng)}--dst-range {site.services[0]}-{site.services[1]}"


def _chance(rng: random.Random, _: Site, __: Place) -> str:
    if rng.random() < 0.25:
        return f"-m statistic --mode nth {negated(rng)}--every {rng.choice((2, 3))} --packet 0"
    value = rng.choice(("0.5", "0.33333333349", "1", "0"))
    return f"-m statistic --mode random {negated(rng)}--probability {value}"


def _packet_type(rng: random.Random, _: Site, __: Place) -> str:
    return f"-m pkttype {negated(rng)}--pkt-type {rng.choice(('unicast', 'multicast'))}"


def _bridge_port(rng: random.Random, _: Site, place: Place) -> str:
    if place.hooks[0] != "PREROUTING":
        return ""
    word = rng.choice(("--physdev-is-in", "--physdev-is-in", "--physdev-in veth1", "--physdev-is-bridged"))
    return f"-m physdev {negated(rng)}{word}"


def _reverse_path(rng: random.Random, _: Site, place: Place) -> str:
    if place.hooks != ("PREROUTING",) or place.table == "nat":
        return ""
    return f"-m rpfilter{rng.choice(('', ' --invert', ' --loose'))}"


def _security_policy(rng: random.Random, _: Site, place: Place) -> str:
    if place.hooks not in (("PREROUTING",), ("INPUT",), ("FORWARD",)):
        return ""
    more = rng.choice(("", " --strict --reqid 1 --mode tunnel --proto esp --next --reqid 2"))
    return f"-m policy --dir in --pol {rng.choice(('none', 'ipsec' + more))}"


def _owner(rng: random.Random, _: Site, place: Place) -> str:
    if not set(place.hooks) <= {"OUTPUT", "POSTROUTING"}:
        return ""
    words = ("--uid-owner 0", "--uid-owner 4242", "--gid-owner 0", "--gid-owner 0 --suppl-groups", "--socket-exists")
    word = rng.choice(words)
    return f"-m owner {'' if 'suppl' in word else negated(rng)}{word}"


def _socket(rng: random.Random, _: Site, place: Place) -> str:
    if place.hooks != ("PREROUTING",) or place.table not in ("raw", "mangle"):
        return ""
    return (
        f"-m socket {rng.choice(('--transparent', '--nowildcard', '--restore-skmark', '--transparent --nowildcard'))}"
    )


def _fragment(rng: random.Random, site: Site, _: Place) -> str:
    return f"{negated(rng)}-f" if site.family is Family.IPV4 else ""


def _sets(rng: random.Random, site: Site, _: Place) -> str:
    name, ways = rng.choice(
        (
            ("addresses", "src"),
            ("addresses", "dst"),
            ("networks", "src"),
            ("networks", "dst"),
            ("ports", "dst"),
            ("places", "dst,dst"),
            ("clients-ports", "src,dst"),
            ("hairpins", "dst,dst,src"),
            ("ranges", "dst,dst,src"),
        )
    )
    return f"-m set {negated(rng)}--match-set {set_name(name, site)} {ways}"


def set_name(name: str, site: Site) -> str:
    """Sets are of one family."""
    return f"{name}-{'4' if site.family is Family.IPV4 else '6'}"


def ipsets(site: Site) -> str:
    """The sets that rules may ask, as `ipset restore` takes them."""
    family = "inet" if site.family is Family.IPV4 else "inet6"
    wide = ("10.96.0.0/24", "192.168.50.0/24") if site.family is Family.IPV4 else ("fd00:96::/64", "fd00:50::/64")
    services, backends = site.services, site.backends
    held: dict[str, tuple[str, tuple[str, ...]]] = {
        "addresses": (f"hash:ip family {family}", (services[0], site.pods[0], site.outside[0], backends[0])),
        "networks": (f"hash:net family {family}", wide),
        "ports": ("bitmap:port range 0-65535", ("80", "8080")),
        "places": (
            f"hash:ip,port family {family}",
            (f"{services[0]},tcp:80", f"{services[1]},udp:81", f"{services[2]},sctp:8080", f"{backends[0]},tcp:80"),
        ),
        "clients-ports": (f"hash:ip,port family {family}", (f"{site.pods[0]},tcp:80", f"{site.outside[1]},udp:81")),
        "hairpins": (
            f"hash:ip,port,ip family {family}",
            (f"{services[0]},tcp:80,{site.pods[0]}", f"{backends[0]},tcp:8080,{site.outside[0]}"),
        ),
        "ranges": (
            f"hash:ip,port,net family {family}",
            (f"{services[1]},tcp:81,{wide[1]}", f"{services[2]},udp:80,{wide[1]}"),
        ),
    }
    lines = []
    for name, (kind, members) in held.items():
        lines.append(f"create {set_name(name, site)} {kind}")
        lines += [f"add {set_name(name, site)} {member}" for member in members]
    return "\n".join(lines) + "\n"


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
    "other port": (_other_port, 3),
    "owner": (_owner, 2),
    "socket": (_socket, 1),
    "fragment": (_fragment, 1),
    "set": (_sets, 3),
    "undecidable": (_undecidable, 1),
}
"""Matches by name: how to write one, and how often it is wanted."""
# These give `-p` themselves.
WITH_PROTOCOL = {"protocol", "other port", "dport", "sport", "multiport", "tcp flags"}
