"""Listening sockets out of `ss`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdiag.model.addresses import Family, parse_address
from kdiag.model.host import ListeningSocket
from kdiag.model.snapshot import Recording
from kdiag.parse.sockets import parse_sockets


def parse(text: str) -> tuple[tuple[ListeningSocket, ...], tuple[str, ...]]:
    return parse_sockets(Recording(source="nodes/n/ss.txt", content=text.encode()))


def test_wildcards_addresses_and_processes() -> None:
    sockets, unread = parse(
        "Netid State  Recv-Q Send-Q Local Address:Port  Peer Address:Port\n"
        "udp UNCONN 0      0        0.0.0.0:30131 0.0.0.0:*\n"
        'tcp LISTEN 0      4096   127.0.0.1:2379  0.0.0.0:*    users:(("etcd",pid=20,fd=7))\n'
        "tcp LISTEN 0      4096           *:10256       *:*\n"
        "tcp LISTEN 0      4096      [::]:22    [::]:*\n"
        "tcp LISTEN 0      4096   [fd00::11%eth0]:32020    [::]:*\n"
        "tcp LISTEN 0      4096   127.0.0.53%lo:53  0.0.0.0:*\n"
        "tcp LISTEN 0      4096   :::8080  :::*\n"
        "nl  UNCONN 0 0 rtnl:kernel *\n"
    )
    assert unread == ()
    by_port = {socket.port: socket for socket in sockets}
    assert by_port[30131].protocol == "udp"
    assert by_port[30131].wildcard_families == (Family.IPV4,)
    assert by_port[2379].address == parse_address("127.0.0.1")
    assert by_port[2379].process == "etcd"
    assert by_port[10256].wildcard_families == (Family.IPV4, Family.IPV6)
    assert by_port[10256].address is None
    assert by_port[22].wildcard_families == (Family.IPV6,)
    assert by_port[32020].address == parse_address("fd00::11")
    assert by_port[53].address == parse_address("127.0.0.53")
    assert by_port[8080].wildcard_families == (Family.IPV4, Family.IPV6)
    assert [socket.port for socket in sockets if socket.protocol == "tcp"] == [22, 53, 2379, 8080, 10256, 32020]


def test_without_the_netid_column_a_socket_is_tcp() -> None:
    ((socket,), unread) = parse("State  Recv-Q Send-Q Local Peer\nLISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n")
    assert (socket.protocol, socket.port, unread) == ("tcp", 22, ())


def test_lines_that_are_no_sockets_are_named() -> None:
    sockets, unread = parse(
        "ss: command not found\ntcp LISTEN 0 1 *:ssh *:*\ntcp LISTEN 0 1 host:22 *:*\ntcp LISTEN 0 1 *:99999 *:*\n"
    )
    assert sockets == ()
    assert len(unread) == 4
    assert unread[0] == "ss: command not found"


@given(st.text(max_size=120))
def test_any_text_is_survived(text: str) -> None:
    parse(text)
    parse("tcp LISTEN 0 1 " + text)
