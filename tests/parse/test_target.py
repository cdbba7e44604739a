from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.errors import KdiagError, UsageError
from kdiag.model.addresses import Protocol, parse_address, parse_network
from kdiag.model.dataplane import Position
from kdiag.model.objects import ObjectKey
from kdiag.model.trace import AddressTarget, NodePortTarget, ServiceTarget, TraceClient, TracePlace
from kdiag.parse.target import (
    parse_client,
    parse_reserved,
    parse_service_name,
    parse_service_port,
    parse_trace_target,
)


def key(namespace: str, name: str) -> ObjectKey:
    return ObjectKey(namespace=namespace, name=name)


def place(address: str, number: int, protocol: Protocol = Protocol.TCP) -> TracePlace:
    parsed = parse_address(address)
    assert parsed is not None
    return AddressTarget(address=parsed, port_number=number, protocol=protocol)


@pytest.mark.parametrize("text", ["web", "svc/web", "service/web", "services/web", "default/web", "svc/default/web"])
def test_spellings_of_a_service(text: str) -> None:
    assert parse_service_name(text) == key("default", "web")


def test_namespace_of_a_service() -> None:
    assert parse_service_name("web", namespace="shop") == key("shop", "web")
    assert parse_service_name("shop/web", namespace="shop") == key("shop", "web")
    assert parse_service_name("web", any_namespace=True) == key("", "web")
    assert parse_service_name("shop/web", any_namespace=True) == key("shop", "web")
    assert parse_service_name("svc/svc/web") == key("svc", "web")
    assert parse_service_name("svc") == key("default", "svc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no Service name"),
        ("Web", "'Web' is no Service name"),
        ("svc/", "'svc/' is no Service name"),
        ("/web", "'/web' is no namespace name"),
        ("a/b/c", "'a/b/c' has too many slashes"),
        ("pod/b/c", "'pod/b/c' has too many slashes"),
        ("a" * 254, f"'{'a' * 254}' is no Service name"),
        ("web\n", "'web\\n' is no Service name"),
    ],
)
def test_no_service(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_service_name(text)
    assert caught.value.message == message


def test_contradicting_namespaces() -> None:
    with pytest.raises(UsageError) as caught:
        parse_service_name("shop/web", namespace="default")
    assert caught.value.message == "'shop/web' is in namespace shop, and -n says default"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.96.0.10:53/UDP", place("10.96.0.10", 53, Protocol.UDP)),
        ("10.96.0.10:53/udp", place("10.96.0.10", 53, Protocol.UDP)),
        ("10.96.0.10:53", place("10.96.0.10", 53)),
        ("[fd00::1]:80/SCTP", place("fd00::1", 80, Protocol.SCTP)),
        ("node01:30080", NodePortTarget(node="node01", node_port=30080, protocol=Protocol.TCP)),
        (
            "ip-10-0-0-1.ec2.internal:30080/UDP",
            NodePortTarget(node="ip-10-0-0-1.ec2.internal", node_port=30080, protocol=Protocol.UDP),
        ),
        ("svc/web", ServiceTarget(service=key("default", "web"))),
        ("shop/web", ServiceTarget(service=key("shop", "web"))),
        ("web", ServiceTarget(service=key("default", "web"))),
    ],
)
def test_targets(text: str, expected: TracePlace) -> None:
    target = parse_trace_target(text)
    assert target.place == expected
    assert target.text == text
    assert (target.client, target.node, target.service_port) == (None, None, None)


@pytest.mark.parametrize("text", ["svc/web:80", "svc/web:80/TCP", "shop/web:80"])
def test_port_behind_a_service(text: str) -> None:
    assert parse_trace_target(text).service_port == 80


def test_options_of_a_target() -> None:
    target = parse_trace_target("web", namespace="shop", client="pod/curl", node="node02", service_port="http")
    assert target.place == ServiceTarget(service=key("shop", "web"))
    assert target.client == TraceClient(position=Position.POD, pod=key("shop", "curl"))
    assert target.node == "node02"
    assert target.service_port == "http"


def test_port_option_completes_an_address() -> None:
    target = parse_trace_target("10.96.0.10", service_port="53")
    assert target.place == place("10.96.0.10", 53)
    assert target.service_port is None


@pytest.mark.parametrize(
    ("text", "port", "message"),
    [
        ("10.96.0.10", None, "'10.96.0.10' has no port"),
        ("10.96.0.10", "dns", "'10.96.0.10' has no port"),
        ("10.96.0.10:53", "53", "the port was given twice"),
        ("10.96.0.10:0", None, "'10.96.0.10:0' holds a port number outside 1 to 65535"),
        ("10.96.0.10:70000", None, "'10.96.0.10:70000' holds a port number outside 1 to 65535"),
        ("10.96.0.10:123456", None, "'10.96.0.10:123456' holds a port number outside 1 to 65535"),
        ("10.96.0.10:53/QUIC", None, "'10.96.0.10:53/QUIC' names an unknown protocol"),
        ("fd00::1", None, "'fd00::1' has no port"),
        ("node01:30080", "80", "--port goes with a Service, not with a node port"),
        ("Node:30080", None, "'Node:30080' is no node name"),
        ("svc/web:80", "80", "the port was given twice"),
        ("svc/web:HTTP", None, "'HTTP' is neither a port number nor a port name"),
        ("", None, "'' is no Service name"),
    ],
)
def test_no_target(text: str, port: str | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_trace_target(text, service_port=port)
    assert caught.value.message == message


def test_bracket_hint() -> None:
    with pytest.raises(UsageError) as caught:
        parse_trace_target("fd00::1:80")
    assert caught.value.hint == "write an IPv6 address in brackets: [fd00::1:80]:PORT/PROTOCOL"


def test_clients() -> None:
    assert parse_client("external") == TraceClient(position=Position.EXTERNAL)
    assert parse_client("node/node01") == TraceClient(position=Position.NODE, node="node01")
    assert parse_client("pod/shop/curl") == TraceClient(position=Position.POD, pod=key("shop", "curl"))
    assert parse_client("pod/curl", any_namespace=True).pod == key("", "curl")


@pytest.mark.parametrize("text", ["", "pod", "pod/", "node/", "curl", "external/x", "node/A B"])
def test_no_client(text: str) -> None:
    with pytest.raises(UsageError):
        parse_client(text)


def test_service_ports() -> None:
    assert parse_service_port("80") == 80
    assert parse_service_port("http-alt") == "http-alt"
    for text in ("", "-", "65536", "٣"):
        with pytest.raises(UsageError):
            parse_service_port(text)


def test_reserved() -> None:
    assert parse_reserved("172.16.0.0/12") == parse_network("172.16.0.0/12")
    with pytest.raises(UsageError) as caught:
        parse_reserved("172.16/12x")
    assert caught.value.hint == "give it as CIDR: 172.16.0.0/12"


@given(st.text(), st.none() | st.text(), st.none() | st.text(), st.none() | st.text())
def test_any_text_is_read_or_refused(text: str, client: str | None, node: str | None, port: str | None) -> None:
    # Anything but a kdiag error would be a traceback for the user.
    with contextlib.suppress(KdiagError):
        assert parse_trace_target(text, client=client, node=node, service_port=port).text == text
