"""`ipvsadm-save` and `ipvsadm -L`: virtual servers and their real servers.

Both with `-n`. Without it names stand where numbers were: those of ports are turned back, those of hosts cannot be.
Formats: print_service_entry() of ipvsadm 1.26 to 1.31.
"""

from __future__ import annotations

from collections.abc import Iterator

from kdiag.model.addresses import Address, Family, Protocol, SocketAddress, family_of
from kdiag.model.ipvs import Forwarding, IpvsTable, RealServer, VirtualServer
from kdiag.parse.ipvs_table import (
    PROTOCOL_NAMES,
    TableBuilder,
    UnreadableError,
    numbered_lines,
    prefix_length,
    read_forwarding,
    read_listing,
    read_number,
    read_socket,
)

_PROTOCOLS = {
    "-t": Protocol.TCP,
    "--tcp-service": Protocol.TCP,
    "-u": Protocol.UDP,
    "--udp-service": Protocol.UDP,
    "--sctp-service": Protocol.SCTP,
}
_FORWARDING = {
    "-m": Forwarding.MASQ,
    "--masquerading": Forwarding.MASQ,
    "-i": Forwarding.TUNNEL,
    "--ipip": Forwarding.TUNNEL,
    "-g": Forwarding.ROUTE,
    "--gatewaying": Forwarding.ROUTE,
}
# `ipvsadm -p` without a value (lib of ipvsadm: 360 until 1.26, 300 since; the file form always has a value).
_DEFAULT_PERSISTENCE_S = 300
_Identity = tuple[Protocol | None, SocketAddress | int, Family]


def parse_ipvsadm_save(text: str, source: str) -> IpvsTable:
    """The table that `ipvsadm-save -n` (or `ipvsadm -S -n`) printed. Empty text is an empty table.

    A line that is not understood is in `unread`, as is a real server of a virtual server that no line declares. Raises
    ParseError if nothing was understood; `source` is the path that the message names.
    """
    builder = TableBuilder(source)
    by_identity: dict[_Identity, int] = {}
    for number, line in numbered_lines(text):
        if line.startswith("#"):
            continue
        words = iter(line.split())
        try:
            match next(words):
                case "-A" | "--add-service":
                    server, identity = _saved_server(words, number, line)
                    by_identity[identity] = builder.add_server(server)
                case "-a" | "--add-server":
                    identity, real = _saved_real(words, number, line)
                    if identity not in by_identity:
                        raise UnreadableError("its virtual server was not declared before")
                    builder.add_real(real, by_identity[identity])
                case _:
                    raise UnreadableError("not a line of ipvsadm-save")
        except UnreadableError as error:
            builder.unread(number, line, str(error))
    builder.refuse_other("ipvsadm-save -n")
    return builder.table(text)


def _value(words: Iterator[str]) -> str:
    try:
        return next(words)
    except StopIteration:
        raise UnreadableError("the line ends before its last value") from None


def _identity(words: Iterator[str]) -> _Identity:
    """The first option of a line: which virtual server it is about."""
    option = _value(words)
    if option in ("-f", "--fwmark-service"):
        return None, read_number(_value(words)), Family.IPV4
    if option not in _PROTOCOLS:
        raise UnreadableError(f"not a kind of service: {option}")
    socket = read_socket(_value(words))
    return _PROTOCOLS[option], socket, family_of(socket.address)


def _saved_server(words: Iterator[str], number: int, line: str) -> tuple[VirtualServer, _Identity]:
    protocol, where, family = _identity(words)
    scheduler: str | None = None
    persistence_s: int | None = None
    mask: int | None = None
    flags: list[str] = []
    rest = list(words)
    index = 0
    while index < len(rest):
        option, index = rest[index], index + 1
        if option in ("-6", "--ipv6"):
            family = Family.IPV6
            continue
        if option in ("-o", "--ops"):
            flags.append("ops")
            continue
        written = rest[index] if index < len(rest) else None
        if option in ("-p", "--persistent"):
            has_value = written is not None and not written.startswith("-")
            persistence_s = read_number(written) if has_value and written else _DEFAULT_PERSISTENCE_S
            index += has_value
            continue
        if written is None:
            raise UnreadableError(f"not an option that stands at the end: {option}")
        index += 1
        match option:
            case "-s" | "--scheduler":
                scheduler = written
            case "-M" | "--netmask":
                mask = prefix_length(written)
            case "-b" | "--sched-flags":
                flags += written.split(",")
            case "--pe":
                flags.append(f"pe={written}")
            case _:
                raise UnreadableError(f"an option that is not known: {option}")
    if scheduler is None:
        raise UnreadableError("no scheduler")
    server = _server(
        protocol=protocol,
        where=where,
        family=family,
        scheduler=scheduler,
        persistence_s=persistence_s,
        mask=mask,
        flags=flags,
        number=number,
        line=line,
    )
    return server, (protocol, where, family)


def _server(
    *,
    protocol: Protocol | None,
    where: SocketAddress | int,
    family: Family,
    scheduler: str,
    persistence_s: int | None,
    mask: int | None,
    flags: list[str],
    number: int,
    line: str,
) -> VirtualServer:
    address: Address | None = None if isinstance(where, int) else where.address
    return VirtualServer(
        protocol=protocol,
        address=address,
        port=0 if isinstance(where, int) else where.port,
        family=family,
        scheduler=scheduler,
        persistence_s=persistence_s,
        # The mask goes unsaid where it keeps each address by itself.
        mask=family.bits if persistence_s is not None and mask is None else mask,
        flags=tuple(flags),
        fwmark=where if isinstance(where, int) else None,
        line=number,
        text=line,
    )


def _saved_real(words: Iterator[str], number: int, line: str) -> tuple[_Identity, RealServer]:
    protocol, where, family = _identity(words)
    socket: SocketAddress | None = None
    forwarding: Forwarding | None = None
    weight: int | None = None
    options: list[str] = []
    for option in words:
        match option:
            case "-6" | "--ipv6":
                family = Family.IPV6
            case "-r" | "--real-server":
                socket = read_socket(_value(words))
            case "-w" | "--weight":
                weight = read_number(_value(words))
            case "-x" | "--u-threshold" | "-y" | "--l-threshold" | "--tun-type" | "--tun-port":
                options += [option, _value(words)]
            case "--tun-nocsum" | "--tun-csum" | "--tun-remcsum":
                options.append(option)
            case _ if option in _FORWARDING:
                forwarding = _FORWARDING[option]
            case _:
                raise UnreadableError(f"an option that is not known: {option}")
    if socket is None or forwarding is None or weight is None:
        raise UnreadableError("a real server needs an address, a way of forwarding and a weight")
    real = RealServer(
        address=socket.address,
        port=socket.port,
        forwarding=forwarding,
        weight=weight,
        options=tuple(options),
        line=number,
        text=line,
    )
    return (protocol, where, family), real


def parse_ipvsadm_list(text: str, source: str) -> IpvsTable:
    """The table that `ipvsadm -Ln` printed.

    Unlike the file form it always has a heading, so text without one raises ParseError, as do the listings of
    statistics, rates, thresholds and connections, which leave out what decides. Lines that are not understood are in
    `unread`, and so are the real servers below such a line.
    """
    return read_listing(text, source, "ipvsadm -Ln", _listed_server, _listed_real)


def _listed_server(words: list[str], number: int, line: str) -> VirtualServer:
    kind = words[0]
    where: SocketAddress | int
    if kind == "FWM" and len(words) > 2:
        where, protocol, rest = read_number(words[1]), None, words[2:]
        family = Family.IPV6 if rest[0] == "IPv6" else Family.IPV4
        rest = rest[family is Family.IPV6 :]
    elif kind in PROTOCOL_NAMES and len(words) > 2:
        socket = read_socket(words[1])
        where, protocol, family, rest = socket, Protocol(kind), family_of(socket.address), words[2:]
    else:
        raise UnreadableError("not a virtual server")
    if not rest:
        raise UnreadableError("no scheduler")
    persistence_s: int | None = None
    mask: int | None = None
    flags: list[str] = []
    words_left = iter(rest[1:])
    for word in words_left:
        match word:
            case "persistent":
                persistence_s = read_number(_value(words_left))
            case "mask":
                mask = prefix_length(_value(words_left))
            case "pe":
                flags.append(f"pe={_value(words_left)}")
            case _:
                flags += [item for item in word.strip("()").split(",") if item]
    return _server(
        protocol=protocol,
        where=where,
        family=family,
        scheduler=rest[0],
        persistence_s=persistence_s,
        mask=mask,
        flags=flags,
        number=number,
        line=line,
    )


def _listed_real(words: list[str], number: int, line: str) -> RealServer:
    if len(words) != 5:
        raise UnreadableError("a real server has five columns")
    socket = read_socket(words[0])
    return RealServer(
        address=socket.address,
        port=socket.port,
        forwarding=read_forwarding(words[1]),
        weight=read_number(words[2]),
        line=number,
        text=line,
    )
