"""What the match modules of iptables ask of a packet.

Each known option becomes a test on a flow, or narrows the set of clients. A test answers True, False, or None: "this
cannot be told from a dump". Whatever is not listed here answers None, so that a verdict which hangs on it is "cannot
tell" and never a guess. What is judged is the first packet of a connection from a client not seen before.

Sources: iptables-extensions(8) of 1.8.9 and the kernel's net/netfilter/xt_*.c.
"""

from __future__ import annotations

from kdiag.model.addresses import AddressSet, parse_network
from kdiag.model.rules import Option
from kdiag.walk.address_matches import address_range, address_type, ipset_match
from kdiag.walk.flow import Flow
from kdiag.walk.meaning import (
    PORTED,
    Compiled,
    Reader,
    Surroundings,
    always,
    cannot_tell,
    negate,
    never,
    read_mask,
    read_number,
    read_ports,
)


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
    share = 1 - share if option.negated else share
    compiled.share = share if compiled.share is None else compiled.share * share


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


def _owner(compiled: Compiled, option: Option, _: Surroundings) -> None:
    """Only packets of the node's own processes have an owner (owner_mt of xt_owner.c); which one, no dump shows."""
    exists = option.name == "socket-exists"

    def test(flow: Flow) -> bool | None:
        if not flow.local_origin:
            return False
        return True if exists else None

    compiled.tests.append(negate(test, option.negated))


def _socket(compiled: Compiled, option: Option, _: Surroundings) -> None:
    # Asked for the socket of a transparent proxy; listeners on all addresses are passed over (xt_socket.c), and none
    # listens at an address of a Service.
    compiled.tests.append(never if option.name in ("transparent", "restore-skmark") else cannot_tell)


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
    ("addrtype", "src-type"): address_type,
    ("addrtype", "dst-type"): address_type,
    **{("physdev", name): _physdev for name in ("physdev-is-in", "physdev-in", "physdev-is-bridged")},
    **{("statistic", name): _statistic for name in ("probability", "every", "mode", "packet")},
    ("iprange", "src-range"): address_range,
    ("iprange", "dst-range"): address_range,
    ("set", "match-set"): ipset_match,
    ("pkttype", "pkt-type"): _packet_type,
    **{("owner", name): _owner for name in ("uid-owner", "gid-owner", "socket-exists", "suppl-groups")},
    **{("socket", name): _socket for name in ("transparent", "nowildcard", "restore-skmark")},
    # nfacct and comment count and explain; they match every packet (xt_nfacct.c).
    ("nfacct", "nfacct-name"): _nothing,
    ("comment", "comment"): _nothing,
    **{("policy", name): _policy for name in ("dir", "pol", "strict", "reqid", "mode", "proto", "next")},
}

# Options that ask for the address that packets go to or went to.
OF_DESTINATIONS = {("conntrack", "ctorigdst"), ("iprange", "dst-range"), ("set", "match-set")}
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
