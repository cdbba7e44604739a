"""Routes out of `ip route`, in JSON and in text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import ParseError
from kdiag.model.addresses import Family
from kdiag.model.host import Route
from kdiag.model.snapshot import Recording
from kdiag.parse.routes import parse_routes

JSON = """[{"dst":"default","gateway":"192.168.56.1","dev":"eth0","metric":100,"flags":[]},
 {"dst":"10.244.0.0/24","dev":"cni0","protocol":"kernel","scope":"link","prefsrc":"10.244.0.1"},
 {"type":"blackhole","dst":"10.1.0.0/26","protocol":"bird"},
 {"dst":"10.2.0.0/16","nexthops":[{"gateway":"10.0.0.1","dev":"a"},{"via":{"family":"inet6","host":"fe80::1"},"dev":"b"}]},
 {"dst":"10.3.0.0/16","via":{"family":"inet6","host":"fe80::2"},"dev":"c"},
 {"dst":"nonsense"}, {"dst":"fd00::/64","dev":"x"}, {}, 3]"""

TEXT = """\
default via 192.168.56.1 dev eth0 proto dhcp src 192.168.56.11 metric 100
10.244.0.0/24 dev cni0 proto kernel scope link src 10.244.0.1
blackhole 10.1.0.0/26 proto bird
10.2.0.0/16
\tnexthop via 10.0.0.1 dev a weight 1
\tnexthop via inet6 fe80::1 dev b weight 1
10.3.0.0/16 via inet6 fe80::2 dev c
172.17.0.0/16 dev docker0 linkdown
"""


def parse(text: str, family: Family = Family.IPV4) -> tuple[Route, ...]:
    return parse_routes(Recording(source="nodes/n/ip-route", content=text.encode()), family)


def shape(route: Route) -> tuple[str, str | None, str | None, str]:
    return str(route.network), route.interface, str(route.gateway) if route.gateway else None, route.type


SHARED = [
    ("0.0.0.0/0", "eth0", "192.168.56.1", "unicast"),
    ("10.244.0.0/24", "cni0", None, "unicast"),
    ("10.1.0.0/26", None, None, "blackhole"),
    ("10.2.0.0/16", "a", "10.0.0.1", "unicast"),
    ("10.2.0.0/16", "b", "fe80::1", "unicast"),
    ("10.3.0.0/16", "c", "fe80::2", "unicast"),
]


def test_json() -> None:
    routes = parse(JSON)
    assert [shape(route) for route in routes] == SHARED
    assert routes[0].metric == 100
    assert (routes[1].protocol, routes[1].scope, str(routes[1].preferred_source)) == ("kernel", "link", "10.244.0.1")


def test_text() -> None:
    routes = parse(TEXT)
    assert [shape(route) for route in routes] == [*SHARED, ("172.17.0.0/16", "docker0", None, "unicast")]
    assert (routes[0].metric, routes[0].protocol) == (100, "dhcp")


def test_ipv6_default_and_other_family_left_out() -> None:
    (default,) = parse('[{"dst":"default","gateway":"fe80::1","dev":"eth0"},{"dst":"10.0.0.0/8"}]', Family.IPV6)
    assert str(default.network) == "::/0"


def test_an_empty_table_is_no_error() -> None:
    assert parse("") == ()
    assert parse("[]") == ()
    assert parse("{}") == ()


@pytest.mark.parametrize("text", ["[{", "Error: some failure", "unreachable\n"])
def test_text_without_a_route(text: str) -> None:
    with pytest.raises(ParseError):
        parse(text)


def test_odd_metrics_and_cut_lines() -> None:
    (route,) = parse("10.0.0.0/8 via inet6 \n")
    assert route.gateway is None
    (other,) = parse('[{"dst":"10.0.0.0/8","metric":"x"}]')
    assert other.metric == 0


@given(st.text(max_size=200))
def test_any_text_gives_routes_or_a_parse_error(text: str) -> None:
    for content in (text, "[" + text, "10.0.0.0/8 " + text):
        with contextlib.suppress(ParseError):
            parse(content)
