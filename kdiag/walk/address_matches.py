"""Matches that ask for addresses: their kind, ranges of them, and sets."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from kdiag.model.addresses import Address, AddressSet, Family, Network, parse_address, parse_network
from kdiag.model.rules import IpSet, Option
from kdiag.walk.flow import Flow
from kdiag.walk.meaning import Compiled, Surroundings, Test, cannot_tell, negate, read_number

MULTICAST = {Family.IPV4: ipaddress.ip_network("224.0.0.0/4"), Family.IPV6: ipaddress.ip_network("ff00::/8")}


def _addresses4_of(kinds: set[str], local: AddressSet) -> AddressSet | None:
    """Addresses of one of these kinds: in IPv4 each address is of one kind."""
    multicast = AddressSet.of(Family.IPV4, (MULTICAST[Family.IPV4],))
    broadcast = AddressSet.span(Family.IPV4, 0xFFFFFFFF, 0xFFFFFFFF)
    known = {
        "LOCAL": local,
        "MULTICAST": multicast,
        "BROADCAST": broadcast,
        "UNICAST": (local | multicast | broadcast).complement(),
    }
    if not kinds <= known.keys():
        return None
    chosen = AddressSet.nothing(Family.IPV4)
    for kind in kinds:
        chosen = chosen | known[kind]
    return chosen


def _addresses6_of(kinds: set[str], local: AddressSet) -> AddressSet | None:
    """Addresses of all these kinds: in IPv6 local ones are unicast too (match_type6 of xt_addrtype.c)."""
    multicast = AddressSet.of(Family.IPV6, (MULTICAST[Family.IPV6],))
    known = {
        "LOCAL": local,
        "MULTICAST": multicast,
        "UNICAST": (multicast | AddressSet.span(Family.IPV6, 0, 0)).complement(),
    }
    if not kinds <= known.keys():
        return None
    chosen = AddressSet.everything(Family.IPV6)
    for kind in kinds:
        chosen = chosen & known[kind]
    return chosen


def address_type(compiled: Compiled, option: Option, around: Surroundings) -> None:
    """`-m addrtype --src-type`, `--dst-type`."""
    family, local = around.network.family, around.network.local
    kinds = set((option.values[0] if option.values else "").upper().split(","))
    chosen = _addresses4_of(kinds, local) if family is Family.IPV4 else _addresses6_of(kinds, local)
    if chosen is None:
        compiled.tests.append(cannot_tell)
        return
    if option.name == "src-type":
        compiled.narrow(chosen.complement() if option.negated else chosen)
        return

    def test(flow: Flow) -> bool | None:
        return any(low <= flow.destination <= high for low, high in chosen.ranges)

    compiled.tests.append(negate(test, option.negated))


def address_range(compiled: Compiled, option: Option, around: Surroundings) -> None:
    """`-m iprange --src-range`, `--dst-range`."""
    first_text, dash, last_text = (option.values[0] if option.values else "").partition("-")
    first, last = parse_address(first_text), parse_address(last_text if dash else first_text)
    if first is None or last is None:
        compiled.tests.append(cannot_tell)
        return
    low, high = int(first), int(last)
    if option.name == "src-range":
        chosen = AddressSet.span(around.network.family, low, high)
        compiled.narrow(chosen.complement() if option.negated else chosen)
    else:
        compiled.tests.append(negate(lambda flow: low <= flow.destination <= high, option.negated))


def ipset_match(compiled: Compiled, option: Option, around: Surroundings) -> None:
    """`-m set --match-set NAME DIRECTIONS`, if the set was recorded and its type is known."""
    known = (around.ipsets or {}).get(option.values[0]) if option.values else None
    directions = option.values[1] if len(option.values) > 1 else ""
    if known is None:
        compiled.tests.append(cannot_tell)
        return
    match known.type, directions:
        case (("hash:ip" | "hash:net"), ("src" | "dst")):
            chosen = ipset_members(known, around.network.family)
            if chosen is None:
                compiled.tests.append(cannot_tell)
                return
            if directions == "src":
                compiled.narrow(chosen.complement() if option.negated else chosen)
                return
            test: Test = lambda flow: any(low <= flow.destination <= high for low, high in chosen.ranges)  # noqa: E731
        case "bitmap:port", "dst":
            numbers = {read_number(member.split()[0]) for member in known.members}
            # Only TCP and UDP have ports to it (ip_set_get_ip_port).
            test = lambda flow: flow.protocol in ("tcp", "udp") and flow.port in numbers  # noqa: E731
        case "hash:ip,port", "dst,dst":
            pairs = {_socket(member.split()[0]) for member in known.members}
            test = lambda flow: (flow.destination, flow.protocol, flow.port) in pairs  # noqa: E731
        case "hash:ip,port", "src,dst":
            _narrow(compiled, option, _sources_by_port(known, around.network.family))
            return
        case (("hash:ip,port,ip" | "hash:ip,port,net"), "dst,dst,src"):
            _narrow(compiled, option, _sources_by_socket(known, around.network.family))
            return
        case _:
            test = cannot_tell
    compiled.tests.append(negate(test, option.negated))


Narrowing = Callable[[Flow], AddressSet | None]


def _narrow(compiled: Compiled, option: Option, find: Narrowing) -> None:
    """Keep the clients that a set names for the flow; those of an earlier match too."""
    before = compiled.narrows

    def narrows(flow: Flow) -> AddressSet | None:
        found = find(flow)
        if found is not None and option.negated:
            found = found.complement()
        earlier = before(flow) if before is not None else None
        if before is None or found is None:
            return found
        return None if earlier is None else found & earlier

    compiled.narrows = narrows


def _sources_by_socket(known: IpSet, family: Family) -> Narrowing:
    """Members `10.96.0.1,tcp:80,10.0.0.0/8`: the sources that go with a destination."""
    found: dict[tuple[int, str, int], list[tuple[Network, bool]]] = {}
    unread = False
    for member in known.members:
        words = member.split()
        socket_text, _, source_text = words[0].rpartition(",")
        socket = _socket(socket_text)
        network = parse_network(source_text)
        if socket is None or network is None:
            unread = True
            continue
        found.setdefault(socket, []).append((network, "nomatch" in words))
    chosen = {socket: _nested(networks, family) for socket, networks in found.items()}
    nobody = AddressSet.nothing(family)

    def find(flow: Flow) -> AddressSet | None:
        return None if unread else chosen.get((flow.destination, flow.protocol, flow.port), nobody)

    return find


def _sources_by_port(known: IpSet, family: Family) -> Narrowing:
    """Members `10.96.0.1,tcp:80` asked for the source's address and the destination's port."""
    found: dict[tuple[str, int], list[Address]] = {}
    for member in known.members:
        socket = _socket(member.split()[0])
        address = parse_address(member.partition(",")[0])
        if socket is not None and address is not None:
            found.setdefault(socket[1:], []).append(address)
    chosen = {asked: AddressSet.of(family, addresses) for asked, addresses in found.items()}
    nobody = AddressSet.nothing(family)
    return lambda flow: chosen.get((flow.protocol, flow.port), nobody)


def _nested(networks: list[tuple[Network, bool]], family: Family) -> AddressSet:
    """Of nested members the narrowest decides."""
    chosen = AddressSet.nothing(family)
    for network, excluded in sorted(networks, key=lambda item: item[0].prefixlen):
        part = AddressSet.of(family, (network,))
        chosen = chosen - part if excluded else chosen | part
    return chosen


def ipset_members(ipset: IpSet, family: Family) -> AddressSet | None:
    """The addresses in a set; None if a member is not understood."""
    networks: list[tuple[Network, bool]] = []
    for member in ipset.members:
        words = member.split()
        network = parse_network(words[0]) if words else None
        if network is None:
            return None
        networks.append((network, "nomatch" in words))
    return _nested(networks, family)


def _socket(member: str) -> tuple[int, str, int] | None:
    """`10.96.0.1,tcp:443` as address, protocol and port."""
    address_text, _, rest = member.partition(",")
    protocol, _, port_text = rest.rpartition(":")
    address = parse_address(address_text)
    number = read_number(port_text)
    return None if address is None or number is None else (int(address), protocol or "tcp", number)
