"""Interfaces and addresses out of `ip addr`, in JSON and in text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import ParseError
from kdiag.model.snapshot import Recording
from kdiag.parse.interfaces import Addressing, parse_interfaces

JSON = """[{},{"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"addr_info":[
 {"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"},{"family":"inet6","local":"bad"},7]},
 {"ifname":"docker0","flags":["NO-CARRIER","BROADCAST","UP"],"linkinfo":{"info_kind":"bridge"},"addr_info":[
 {"family":"inet","local":"172.17.0.1","prefixlen":16,"scope":"global"}]},
 {"ifname":"veth1","flags":null,"master":"docker0","addr_info":null},
 {"ifname":"ppp0","flags":["UP"],"addr_info":[{"family":"inet","local":"10.9.9.9"}]}, "x"]"""

TEXT = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host
5: eth0@if4: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue master br0 state UP group default
    inet 192.168.56.11/24 brd 192.168.56.255 scope global dynamic eth0
    inet6 fe80::5054:ff:fe38:11/64 scope link
6: tun9: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1500
    inet 10.8.0.2 peer 10.8.0.1/32 scope global tun9
7: kube-ipvs0: <BROADCAST,NOARP> mtu 1500 qdisc noop state DOWN group default
    inet 10.96.0.1/32 scope global kube-ipvs0
    inet 999.1.1.1/32 scope global kube-ipvs0
"""


def parse(text: str) -> Addressing:
    return parse_interfaces(Recording(source="nodes/n/ip-addr", content=text.encode()))


def test_json() -> None:
    interfaces, addresses = parse(JSON)
    assert [item.name for item in interfaces] == ["lo", "docker0", "veth1", "ppp0"]
    docker = interfaces[1]
    assert (docker.up, docker.running, docker.kind) == (True, False, "bridge")
    assert (interfaces[2].up, interfaces[2].master) == (False, "docker0")
    assert [(item.interface, str(item.address), item.prefix_length, item.scope) for item in addresses] == [
        ("lo", "127.0.0.1", 8, "host"),
        ("docker0", "172.17.0.1", 16, "global"),
        ("ppp0", "10.9.9.9", 32, "global"),
    ]
    assert (addresses[1].up, addresses[1].running) == (True, False)


def test_text() -> None:
    interfaces, addresses = parse(TEXT)
    assert [(item.name, item.up, item.master) for item in interfaces] == [
        ("lo", True, None),
        ("eth0", True, "br0"),
        ("tun9", True, None),
        ("kube-ipvs0", False, None),
    ]
    assert [(item.interface, str(item.address), item.prefix_length, item.scope) for item in addresses] == [
        ("lo", "127.0.0.1", 8, "host"),
        ("lo", "::1", 128, "host"),
        ("eth0", "192.168.56.11", 24, "global"),
        ("eth0", "fe80::5054:ff:fe38:11", 64, "link"),
        ("tun9", "10.8.0.2", 32, "global"),
        ("kube-ipvs0", "10.96.0.1", 32, "global"),
    ]


def test_a_single_object_and_a_missing_linkinfo() -> None:
    interfaces, _ = parse('{"ifname":"lo","flags":["UP"],"linkinfo":{"info_kind":7}}')
    assert interfaces[0].kind is None


@pytest.mark.parametrize("text", ["", "[]", "[{", "nothing to see", "inet 10.0.0.1/8 scope global x", "[1]"])
def test_no_interface_is_an_error(text: str) -> None:
    with pytest.raises(ParseError):
        parse(text)


@given(st.text(max_size=200))
def test_any_text_gives_interfaces_or_a_parse_error(text: str) -> None:
    for content in (text, "[" + text, "1: lo: <UP> x\n    inet " + text):
        with contextlib.suppress(ParseError):
            parse(content)
