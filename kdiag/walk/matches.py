"""What the match modules of iptables ask of a packet.

Each known option becomes a test on a flow, or narrows the set of clients. A test answers True, False, or None: "this
cannot be told from a dump". Whatever is not listed here answers None, so that a verdict which hangs on it is "cannot
tell" and never a guess. What is judged is the first packet of a connection from a client not seen before.

Sources: iptables-extensions(8) of 1.8.9 and the kernel's net/netfilter/xt_*.c.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kdiag.model.addresses import AddressSet, Family, Network, parse_address, parse_network
from kdiag.model.rules import IpSet, Option
from kdiag.walk.flow import Flow
from kdiag.walk.network import NodeNetwork

Test = Callable[[Flow], bool | None]

PORTED = ("tcp", "udp", "sctp", "dccp", "udplite")
SERVICE_PORTS = {"http": 80, "https": 443, "domain": 53, "ssh": 22}


@dataclass(slots=True, kw_only=True)
class Compiled:
    """The meaning of a rule's match options.

    All `tests` must hold; `sources` and `in_interfaces` narrow the clients (a flow of which a part matches is split).
    `share` is the probability of a random match. `looks_up` is the affinity list (name, seconds) asked by
    `recent --rcheck`: such a rule matches no client that is judged. `remembers` is the one written by `recent --set`.
    """

    tests: list[Test] = field(default_factory=list)
    sources: AddressSet | None = None
    in_interfaces: Callable[[str], bool] | None = None
    share: float | None = None
    looks_up: tuple[str, int] | None = None
    remembers: str | None = None

    def narrow(self, addresses: AddressSet) -> None:
        """Keep only clients with these addresses."""
        self.sources = addresses if self.sources is None else self.sources & addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What matches may ask about besides the packet: the node's network and its ipsets (None: not recorded)."""

    network: NodeNetwork
    ipsets: Mapping[str, IpSet] | None = None


Reader = Callable[[Compiled, Option, Surroundings], None]


def always(_: Flow) -> bool | None:
    """Holds for every packet."""
    return True


def never(_: Flow) -> bool | None:
    """Holds for no packet that is judged."""
    return False


def cannot_tell(_: Flow) -> bool | None:
    """Nothing in a dump says whether it holds."""
    return None


def negate(test: Test, negated: bool) -> Test:
    """The test itself, or its opposite."""
    if not negated:
        return test

    def opposite(flow: Flow) -> bool | None:
        answer = test(flow)
        return None if answer is None else not answer

    return opposite


def read_number(text: str) -> int | None:
    """A number as iptables prints it, decimal or 0x; None if it is none."""
    try:
        return int(text, 0)
    except ValueError:
        return None


def read_mask(text: str) -> tuple[int, int] | None:
    """`0x4000/0x4000` as value and mask; the mask defaults to all ones."""
    value_text, _, mask_text = text.partition("/")
    value = read_number(value_text)
    mask = read_number(mask_text) if mask_text else 0xFFFFFFFF
    return None if value is None or mask is None else (value, mask)


def read_ports(text: str) -> tuple[tuple[int, int], ...] | None:
    """`80`, `80:90`, `:90`, `http`, or a comma list of them, as inclusive ranges."""
    ranges = []
    for part in text.split(","):
        low_text, colon, high_text = part.partition(":")
        low = _port(low_text or "0")
        high = _port(high_text or "65535") if colon else low
        if low is None or high is None:
            return None
        ranges.append((low, high))
    return tuple(ranges)


def _port(text: str) -> int | None:
    number = read_number(text)
    return SERVICE_PORTS.get(text) if number is None else number


def _destination_port(compiled: Compiled, option: Option, _: Surroundings) -> None:
    ranges = read_ports(option.values[0]) if option.values else None
    if ranges is None:
        compiled.tests.append(cannot_tell)
        return

    def test(flow: Flow) -> bool | None:
        return flow.protocol in PORTED and any(low <= flow.port <= high for low, high in ranges)

    compiled.tests.append(negate(test, option.negated))


def _source_port(compiled: Compiled, option: Option, _: Surroundings) -> None:
    # A client's port may be anything: only a range that holds them all can be decided.
    ranges = read_ports(option.values[0]) if option.values else None
    full = ranges is not None and any(low <= 1 and high >= 65535 for low, high in ranges)
    compiled.tests.append(negate(always if full else cannot_tell, option.negated))


def _both_ports(compiled: Compiled, option: Option, around: Surroundings) -> None:
    probe = Compiled()
    _destination_port(probe, Option(module=option.module, name="dports", values=option.values), around)
    destination = probe.tests[0]

    def test(flow: Flow) -> bool | None:
        return True if destination(flow) else None

    compiled.tests.append(negate(test, option.negated))


def _tcp_flags(compiled: Compiled, option: Option, _: Surroundings) -> None:
    if option.name == "syn":
        wanted, asked = {"SYN"}, {"SYN", "RST", "ACK", "FIN"}
    elif len(option.values) == 2:
        asked, wanted = (set(value.split(",")) for value in option.values)
        if "ALL" in asked:
            asked = {"SYN", "ACK", "FIN", "RST", "URG", "PSH"}
    else:
        compiled.tests.append(cannot_tell)
        return
    # The first packet of a TCP connection has SYN set and nothing else.
    compiled.tests.append(negate(always if asked & {"SYN"} == wanted - {"NONE"} else never, option.negated))


def _mark(compiled: Compiled, option: Option, _: Surroundings) -> None:
    parsed = read_mask(option.values[0]) if option.values else None
    if parsed is None:
        compiled.tests.append(cannot_tell)
        return
    value, mask = parsed
    if option.module == "connmark":
        compiled.tests.append(negate(lambda flow: flow.connmark & mask == value, option.negated))
    else:
        compiled.tests.append(negate(lambda flow: flow.mark & mask == value, option.negated))


def _connection_state(compiled: Compiled, option: Option, _: Surroundings) -> None:
    wanted = set((option.values[0] if option.values else "").split(","))

    def test(flow: Flow) -> bool | None:
        states = {"UNTRACKED"} if flow.untracked else {"NEW"}
        # A translation that changes nothing does not count (nf_nat_setup_info compares the tuples).
        if (flow.destination, flow.port) != (flow.original_destination, flow.original_port):
            states.add("DNAT")
        if states & wanted:
            return True
        return None if "SNAT" in wanted and flow.rewritten is not None else False

    compiled.tests.append(negate(test, option.negated))


def _original_destination(compiled: Compiled, option: Option, around: Surroundings) -> None:
    network = parse_network(option.values[0]) if option.values else None
    if network is None:
        compiled.tests.append(cannot_tell)
        return
    low, high = int(network.network_address), int(network.broadcast_address)
    compiled.tests.append(negate(lambda flow: low <= flow.original_destination <= high, option.negated))


def _original_source(compiled: Compiled, option: Option, around: Surroundings) -> None:
    network = parse_network(option.values[0]) if option.values else None
    if network is None:
        compiled.tests.append(cannot_tell)
        return
    chosen = AddressSet.of(around.network.family, (network,))
    compiled.narrow(chosen.complement() if option.negated else chosen)
    compiled.tests.append(lambda flow: None if flow.rewritten is not None else True)


def _original_port(compiled: Compiled, option: Option, _: Surroundings) -> None:
    ranges = read_ports(option.values[0]) if option.values else None
    if ranges is None:
        compiled.tests.append(cannot_tell)
        return
    compiled.tests.append(
        negate(lambda flow: any(low <= flow.original_port <= high for low, high in ranges), option.negated)
    )


def _direction(compiled: Compiled, option: Option, _: Surroundings) -> None:
    original = bool(option.values) and option.values[0].upper() == "ORIGINAL"
    compiled.tests.append(negate(always if original else never, option.negated))


def _conntrack_protocol(compiled: Compiled, option: Option, _: Surroundings) -> None:
    wanted = option.values[0].lower() if option.values else ""
    numbers = {"6": "tcp", "17": "udp", "132": "sctp"}
    wanted = numbers.get(wanted, wanted)
    compiled.tests.append(negate(lambda flow: flow.protocol == wanted, option.negated))


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


def _address_type(compiled: Compiled, option: Option, around: Surroundings) -> None:
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


def _physdev(compiled: Compiled, option: Option, around: Surroundings) -> None:
    network = around.network

    def comes_by_bridge(flow: Flow) -> bool | None:
        if flow.local_origin or not network.bridge_netfilter:
            return False
        if flow.in_interfaces is None:
            # Where it is not known by which interface packets come, those of pods may come by a bridge, others do not.
            return None if flow.addresses & network.pods else False
        bridged = flow.in_interfaces & network.bridges
        if not bridged:
            return False
        return True if bridged == flow.in_interfaces else None

    if option.name == "physdev-is-in":
        compiled.tests.append(negate(comes_by_bridge, option.negated))
    else:
        compiled.tests.append(
            negate(lambda flow: None if comes_by_bridge(flow) is not False else False, option.negated)
        )


def _statistic(compiled: Compiled, option: Option, _: Surroundings) -> None:
    if option.name == "probability" and option.values:
        try:
            probability = float(option.values[0])
        except ValueError:
            probability = -1.0
        if not 0 <= probability <= 1:
            compiled.tests.append(cannot_tell)
            return
        # The kernel keeps round(p * 2^31) and compares it with 31 random bits (xt_statistic.c).
        share = round(probability * (1 << 31)) / (1 << 31)
    elif option.name == "every" and option.values and (every := read_number(option.values[0]) or 0) > 0:
        share = 1 / every
    elif option.name in ("mode", "packet"):
        return
    else:
        compiled.tests.append(cannot_tell)
        return
    compiled.share = 1 - share if option.negated else share


def _recent(compiled: Compiled, options: list[Option]) -> None:
    names = {option.name: option for option in options}
    list_name = names["name"].values[0] if "name" in names and names["name"].values else "DEFAULT"
    if "set" in names:
        compiled.remembers = list_name
        compiled.tests.append(negate(always, names["set"].negated))
        return
    asks = [names[name] for name in ("rcheck", "update", "remove") if name in names]
    # A list of destinations may hold the address for other clients' sake.
    if not asks or "rdest" in names:
        compiled.tests.append(cannot_tell)
        return
    seconds = read_number(names["seconds"].values[0]) if "seconds" in names and names["seconds"].values else 0
    if not asks[0].negated and asks[0].name == "rcheck":
        compiled.looks_up = (list_name, seconds or 0)
    else:
        compiled.tests.append(negate(never, asks[0].negated))


def _address_range(compiled: Compiled, option: Option, around: Surroundings) -> None:
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


def _ipset(compiled: Compiled, option: Option, around: Surroundings) -> None:
    known = (around.ipsets or {}).get(option.values[0]) if option.values else None
    directions = option.values[1] if len(option.values) > 1 else ""
    if known is None:
        compiled.tests.append(cannot_tell)
        return
    match known.type, directions:
        case (("hash:ip" | "hash:net"), ("src" | "dst")):
            chosen = _members(known, around.network.family)
            if chosen is None:
                compiled.tests.append(cannot_tell)
                return
            if directions == "src":
                compiled.narrow(chosen.complement() if option.negated else chosen)
                return
            test: Test = lambda flow: any(low <= flow.destination <= high for low, high in chosen.ranges)  # noqa: E731
        case "bitmap:port", "dst":
            numbers = {read_number(member.split()[0]) for member in known.members}
            test = lambda flow: flow.port in numbers  # noqa: E731
        case "hash:ip,port", "dst,dst":
            pairs = {_socket(member.split()[0]) for member in known.members}
            test = lambda flow: (flow.destination, flow.protocol, flow.port) in pairs  # noqa: E731
        case _:
            test = cannot_tell
    compiled.tests.append(negate(test, option.negated))


def _members(ipset: IpSet, family: Family) -> AddressSet | None:
    """The addresses in a set; None if a member is not understood. Of nested members the narrowest decides."""
    networks: list[tuple[Network, bool]] = []
    for member in ipset.members:
        words = member.split()
        network = parse_network(words[0]) if words else None
        if network is None:
            return None
        networks.append((network, "nomatch" in words))
    chosen = AddressSet.nothing(family)
    for network, excluded in sorted(networks, key=lambda item: item[0].prefixlen):
        part = AddressSet.of(family, (network,))
        chosen = chosen - part if excluded else chosen | part
    return chosen


def _socket(member: str) -> tuple[int, str, int] | None:
    """`10.96.0.1,tcp:443` as address, protocol and port."""
    address_text, _, rest = member.partition(",")
    protocol, _, port_text = rest.rpartition(":")
    address = parse_address(address_text)
    number = read_number(port_text)
    return None if address is None or number is None else (int(address), protocol or "tcp", number)


def _packet_type(compiled: Compiled, option: Option, _: Surroundings) -> None:
    unicast = bool(option.values) and option.values[0].lower() in ("unicast", "host")
    compiled.tests.append(negate(always if unicast else never, option.negated))


def _fragment(compiled: Compiled, option: Option, _: Surroundings) -> None:
    # The first packet of a connection comes in one piece.
    compiled.tests.append(negate(never, option.negated))


def _nothing(_: Compiled, __: Option, ___: Surroundings) -> None:
    """An option that narrows nothing (a counter's name, a flag of another option)."""


def _policy(compiled: Compiled, option: Option, _: Surroundings) -> None:
    # Traffic that IPsec does not touch has no policy; that is what is judged.
    if option.name == "pol":
        no_policy = bool(option.values) and option.values[0].lower() == "none"
        compiled.tests.append(negate(always if no_policy else never, option.negated))


READERS: dict[tuple[str, str], Reader] = {
    ("", "fragment"): _fragment,
    **{(module, name): _destination_port for module in PORTED for name in ("dport", "destination-port")},
    **{(module, name): _source_port for module in PORTED for name in ("sport", "source-port")},
    **{("multiport", name): _destination_port for name in ("dports", "destination-ports")},
    **{("multiport", name): _source_port for name in ("sports", "source-ports")},
    ("multiport", "ports"): _both_ports,
    ("tcp", "syn"): _tcp_flags,
    ("tcp", "tcp-flags"): _tcp_flags,
    ("mark", "mark"): _mark,
    ("connmark", "mark"): _mark,
    ("conntrack", "ctstate"): _connection_state,
    ("state", "state"): _connection_state,
    ("conntrack", "ctorigdst"): _original_destination,
    ("conntrack", "ctorigsrc"): _original_source,
    ("conntrack", "ctorigdstport"): _original_port,
    ("conntrack", "ctdir"): _direction,
    ("conntrack", "ctproto"): _conntrack_protocol,
    ("addrtype", "src-type"): _address_type,
    ("addrtype", "dst-type"): _address_type,
    **{("physdev", name): _physdev for name in ("physdev-is-in", "physdev-in", "physdev-is-bridged")},
    **{("statistic", name): _statistic for name in ("probability", "every", "mode", "packet")},
    ("iprange", "src-range"): _address_range,
    ("iprange", "dst-range"): _address_range,
    ("set", "match-set"): _ipset,
    ("pkttype", "pkt-type"): _packet_type,
    # nfacct and comment count and explain; they match every packet (xt_nfacct.c).
    ("nfacct", "nfacct-name"): _nothing,
    ("comment", "comment"): _nothing,
    **{("policy", name): _policy for name in ("dir", "pol", "strict", "reqid", "mode", "proto", "next")},
}

# Modules that match without any option. rpfilter: a packet that took the way back to its source passes it.
BARE = {"tcp", "udp", "sctp", "dccp", "udplite", "comment", "nfacct", "rpfilter"}
# Modules that ask about the connection.
OF_CONNECTIONS = {"conntrack", "state", "connmark"}


def compile_matches(
    modules: tuple[str, ...], options: tuple[Option, ...], around: Surroundings, *, tracked: bool = True
) -> Compiled:
    """Turn a rule's match options into tests. Options that are not known make the rule undecided.

    `tracked` is False for table raw, which packets pass before they have a connection.
    """
    compiled = Compiled()
    recent = [option for option in options if option.module == "recent"]
    if recent:
        _recent(compiled, recent)
    named = {option.module for option in options}
    for module in modules:
        if module not in named and module not in BARE:
            compiled.tests.append(cannot_tell)
    of_connection = {option.name for option in options if option.module in OF_CONNECTIONS}
    if of_connection - {"ctstate", "state"}:
        # No connection, no match, negated or not; with a state asked beside it, that alone decides (xt_conntrack.c).
        without = None if of_connection & {"ctstate", "state"} else False
        compiled.tests.append(lambda flow: without if flow.untracked else True)
    for option in options:
        if option.module == "recent":
            continue
        if option.module in OF_CONNECTIONS and not tracked:
            compiled.tests.append(cannot_tell)
            continue
        if option.module == "rpfilter":
            if option.name == "invert":
                compiled.tests.append(never)
            continue
        reader = READERS.get((option.module, option.name))
        if reader is None:
            compiled.tests.append(cannot_tell)
        else:
            reader(compiled, option, around)
    return compiled
