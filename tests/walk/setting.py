"""A node whose rules are walked: eth0 192.168.56.11/24, bridge cni0 10.244.1.1/24, and what a walk says, in short words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdiag.model.addresses import Address, AddressSet, Family, Network, Protocol, parse_address, parse_network
from kdiag.model.cluster import Node
from kdiag.model.dataplane import (
    Case,
    ClientSet,
    Disposition,
    Fate,
    Frontend,
    FrontendKind,
    Masquerade,
    Outcome,
    Position,
)
from kdiag.model.host import HostFacts, Interface, InterfaceAddress, Route
from kdiag.model.objects import Metadata, ObjectKey
from kdiag.model.rules import IpSet, Ruleset
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.walk.cases import cases_of
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.meaning import Surroundings
from kdiag.walk.network import NodeNetwork, node_network
from kdiag.walk.program import Program
from kdiag.walk.walker import Leaf, Walker

VIP = "10.96.0.10"
VIP6 = "fd00:96::a"
POD = "10.244.1.77"
POD6 = "fd00:244:1::77"
OUTSIDE = "192.168.56.1"
NODE_IP = "192.168.56.11"
HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}


def address(text: str) -> Address:
    found = parse_address(text)
    assert found is not None, text
    return found


def network_of(text: str) -> Network:
    found = parse_network(text)
    assert found is not None, text
    return found


def addresses(*texts: str, family: Family = Family.IPV4) -> AddressSet:
    return AddressSet.of(family, [network_of(text) for text in texts])


def interface_address(interface: str, text: str, scope: str = "global") -> InterfaceAddress:
    bare, _, length = text.partition("/")
    return InterfaceAddress(interface=interface, address=address(bare), prefix_length=int(length or 32), scope=scope)


def route(
    network: str, interface: str | None, *, gateway: str = "", source: str = "", metric: int = 0, kind: str = "unicast"
) -> Route:
    return Route(
        network=network_of(network),
        interface=interface,
        gateway=parse_address(gateway),
        preferred_source=parse_address(source),
        metric=metric,
        type=kind,
    )


def node(*pod_cidrs: str, addresses: Sequence[tuple[str, str]] = ()) -> Node:
    return Node(
        meta=Metadata(key=ObjectKey(namespace="", name="node01")),
        pod_cidrs=tuple(network_of(text) for text in pod_cidrs),
        addresses=tuple(addresses),
    )


HOST = HostFacts(
    addresses=(
        interface_address("lo", "127.0.0.1/8", "host"),
        interface_address("lo", "::1/128", "host"),
        interface_address("eth0", "192.168.56.11/24"),
        interface_address("eth0", "fd00:56::11/64"),
        interface_address("eth0", "fe80::11/64", "link"),
        interface_address("cni0", "10.244.1.1/24"),
        interface_address("cni0", "fd00:244:1::1/64"),
    ),
    interfaces=(
        Interface(name="lo"),
        Interface(name="eth0"),
        Interface(name="cni0", kind="bridge"),
        Interface(name="flannel.1", kind="vxlan"),
    ),
    routes=(
        route("0.0.0.0/0", "eth0", gateway="192.168.56.1"),
        route("10.244.1.0/24", "cni0", source="10.244.1.1"),
        route("10.244.0.0/16", "flannel.1"),
        route("192.168.56.0/24", "eth0", source="192.168.56.11"),
        route("::/0", "eth0", gateway="fd00:56::1"),
        route("fd00:244:1::/64", "cni0"),
        route("fd00:56::/64", "eth0"),
    ),
)
NODE = node("10.244.1.0/24", "fd00:244:1::/64")
NETWORKS = {family: node_network(family, HOST, NODE, ()) for family in Family}


def ruleset(text: str, *, family: Family = Family.IPV4, hides_interfaces: bool = False) -> Ruleset:
    """The rule set of a whole dump, or of single `table -A …` lines."""
    if not text.lstrip().startswith(("*", "#")):
        text = dump(text)
    found = parse_iptables_save(text, family=family, source="iptables-save.txt")
    if not hides_interfaces:
        return found
    return Ruleset(
        family=family, backend=found.backend, source=found.source, tables=found.tables, hides_interfaces=True
    )


def dump(lines: str) -> str:
    """`table -A CHAIN …` and `table :CHAIN POLICY` lines as a dump; chains are declared by being used."""
    rules: dict[str, list[str]] = {}
    policies: dict[tuple[str, str], str] = {}
    chains: dict[str, dict[str, None]] = {}
    for line in lines.strip().splitlines():
        table, _, rest = line.strip().partition(" ")
        chains.setdefault(table, dict.fromkeys(HOOKS[table]))
        if rest.startswith(":"):
            name, _, policy = rest[1:].partition(" ")
            policies[table, name] = policy or "-"
            chains[table][name] = None
        else:
            rules.setdefault(table, []).append(rest)
            chains[table][rest.split()[1]] = None
    out = []
    for table, names in chains.items():
        out.append(f"*{table}")
        for name in names:
            policy = policies.get((table, name), "ACCEPT" if name in HOOKS[table] else "-")
            out.append(f":{name} {policy} [0:0]")
        out += [*rules.get(table, []), "COMMIT"]
    return "\n".join(out) + "\n"


def frontend(destination: str, number: int, position: Position, protocol: Protocol = Protocol.TCP) -> Frontend:
    return Frontend(
        address=address(destination),
        protocol=protocol,
        port=number,
        kind=FrontendKind.CLUSTER_IP,
        position=position,
    )


def clients_at(network: NodeNetwork, position: Position, destination: str, only: str | None) -> tuple[ClientSet, ...]:
    everybody = network.clients(position, address(destination))
    if only is None:
        return everybody
    wanted = AddressSet.of(network.family, [network_of(only)])
    return tuple(
        ClientSet(addresses=both, interfaces=item.interfaces) for item in everybody if (both := item.addresses & wanted)
    )


def leaves(
    text: str,
    *,
    destination: str = VIP,
    number: int = 80,
    position: Position = Position.POD,
    protocol: Protocol = Protocol.TCP,
    only: str | None = None,
    ipsets: Mapping[str, IpSet] | None = None,
    network: NodeNetwork | None = None,
    clients: Sequence[ClientSet] | None = None,
    hides_interfaces: bool = False,
) -> list[Leaf]:
    """Every end of the walk; `only` keeps of the position's clients those with an address in this network."""
    goal = frontend(destination, number, position, protocol)
    around = network or NETWORKS[goal.family]
    rules = ruleset(text, family=goal.family, hides_interfaces=hides_interfaces)
    if clients is None:
        clients = clients_at(around, position, destination, only)
        assert clients, "no such client"
    return Walker(Program((IptablesSpace(rules),), Surroundings(network=around, ipsets=ipsets))).walk(goal, clients)


def cases(text: str, **where: object) -> tuple[Case, ...]:
    return cases_of(leaves(text, **where))  # type: ignore[arg-type]


def one(text: str, **where: object) -> list[str]:
    """The outcomes of a single pod (or of the clients in `only`), which must all fare alike."""
    where.setdefault("only", {Position.POD: POD, Position.NODE: NODE_IP}.get(_position(where), OUTSIDE))
    found = cases(text, **where)
    assert len(found) == 1, [describe(case) for case in found]
    return describe(found[0])[1]


def _position(where: Mapping[str, object]) -> Position:
    position = where.get("position", Position.POD)
    assert isinstance(position, Position)
    return position


def told(text: str, **where: object) -> dict[str, list[str]]:
    """Outcomes by clients, both in words."""
    return dict(describe(case) for case in cases(text, **where))


def describe(case: Case) -> tuple[str, list[str]]:
    who = case.clients.addresses.describe(limit=99)
    return who, sorted(in_words(outcome) for outcome in case.outcomes)


def in_words(outcome: Outcome) -> str:
    """`dropped`, or `10.244.1.5:80 0.5, 10.244.1.6:80 masquerade 0.5`."""
    parts = [(_fate(fate), share) for fate, share in outcome.shares]
    if len(parts) == 1:
        return parts[0][0]
    return ", ".join(f"{words} {share:.10g}" for words, share in parts)


def _fate(fate: Fate) -> str:
    words = [str(fate.backend)] if fate.disposition is Disposition.BACKEND else [fate.disposition.value]
    if fate.disposition is not Disposition.BACKEND and fate.backend is not None:
        words.append(f"after {fate.backend}")
    if fate.masquerade is not Masquerade.NO:
        words.append(f"masquerade-{fate.masquerade}")
    if fate.affinity_s is not None:
        words.append(f"affinity-{fate.affinity_s}")
    return " ".join(words)


def matched(match: str, *, hook: str = "PREROUTING", table: str = "mangle", before: str = "", **where: object) -> str:
    """`yes`, `no` or `?`: whether a rule with this match takes the packet of one client."""
    outcomes = one(f"{before}\n{table} -A {hook} {match} -j DROP", **where)
    ends = [outcome.partition(" ")[0] for outcome in outcomes]
    if len(ends) == 2:
        assert "dropped" in ends
        return "?"
    return "yes" if ends == ["dropped"] else "no"
