"""Hashes against names seen in public dumps and recordings, roles, and comments."""

from __future__ import annotations

import ipaddress

import pytest

from kdiag.model.addresses import Protocol, SocketAddress
from kdiag.model.dataplane import ServicePortKey
from kdiag.model.objects import ObjectKey
from kdiag.parse.chain_names import (
    ChainIndex,
    ChainRole,
    endpoint_hash,
    read_chain_name,
    service_port_hash,
    service_port_of_comment,
)


def key(text: str, port_name: str = "", protocol: Protocol = Protocol.TCP) -> ServicePortKey:
    namespace, _, service = text.partition("/")
    return ServicePortKey(service=ObjectKey(namespace=namespace, name=service), port_name=port_name, protocol=protocol)


@pytest.mark.parametrize(
    ("service", "port_name", "protocol", "expected"),
    [
        ("default/kubernetes", "https", "tcp", "NPX46M4PTMTKRN6Y"),
        ("kube-system/kube-dns", "dns", "udp", "TCOU7JCQXEZGVUNU"),
        ("kube-system/kube-dns", "dns-tcp", "TCP", "ERIFXISQEP7F7OF4"),
        ("kube-system/kube-dns", "metrics", "tcp", "JD5MR3NA4I4DYORP"),
        ("default/nginx", "", "tcp", "2CMXP7HKUVJN7L6M"),
        ("default/hostnames", "http", "tcp", "AC2ON6IKLZPGXVMV"),
        ("default/echo-service", "", "tcp", "OWN6ZV2ZABLQT7IJ"),
        ("default/local-cluster", "", "tcp", "NVB4OINXP3DZTSXQ"),
    ],
)
def test_service_port_hash(service: str, port_name: str, protocol: str, expected: str) -> None:
    assert service_port_hash(service, port_name, protocol) == expected
    parts = key(service, port_name)
    assert service_port_hash(parts.service, port_name, Protocol(protocol.upper())) == expected


def test_older_spelling_of_an_unnamed_port() -> None:
    assert service_port_hash("default/local-cluster", "", "TCP", colon=True) == "SDGXHD6P3SINP7QJ"
    named = service_port_hash("default/kubernetes", "https", "TCP", colon=True)
    assert named == "NPX46M4PTMTKRN6Y"


def test_endpoint_hash() -> None:
    assert endpoint_hash("default/kubernetes", "https", "tcp", "172.16.0.11:6443") == "23Y66C2VAJ3WDEMI"
    address = SocketAddress(ipaddress.ip_address("10.244.2.68"), 80)
    assert endpoint_hash("default/echo-service", "", Protocol.TCP, address) == "3S34T3QK6SRXEDAX"


def test_endpoint_hash_of_an_ipv6_address_depends_on_its_spelling() -> None:
    short = SocketAddress(ipaddress.ip_address("fd00:10:244::2"), 80)
    assert endpoint_hash("a/b", "", "tcp", short) == endpoint_hash("a/b", "", "tcp", "[fd00:10:244::2]:80")
    assert endpoint_hash("a/b", "", "tcp", short) != endpoint_hash("a/b", "", "tcp", "[fd00:10:244:0::2]:80")


@pytest.mark.parametrize("role", list(ChainRole))
def test_roles(role: ChainRole) -> None:
    assert read_chain_name(f"{role.value}NPX46M4PTMTKRN6Y") == (role, "NPX46M4PTMTKRN6Y")


@pytest.mark.parametrize(
    "name",
    [
        "KUBE-SERVICES",
        "KUBE-SVC-NPX46M4PTMTKRN6",
        "KUBE-SVC-NPX46M4PTMTKRN6YA",
        "KUBE-SVC-NPX46M4PTMTKRN61",
        "KUBE-SVC-npx46m4ptmtkrn6y",
        "KUBE-POD-FW-NPX46M4PTMTKRN6Y",
        "KUBE-NWPLCY-NPX46M4PTMTKRN6Y",
        "XKUBE-SVC-NPX46M4PTMTKRN6Y",
        "",
    ],
)
def test_chains_of_others(name: str) -> None:
    assert read_chain_name(name) is None


def test_index_knows_both_spellings() -> None:
    unnamed, named = key("default/local-cluster"), key("default/kubernetes", "https")
    index = ChainIndex([unnamed, named])
    assert index.service_port("KUBE-SVC-NVB4OINXP3DZTSXQ") == unnamed
    assert index.service_port("KUBE-XLB-SDGXHD6P3SINP7QJ") == unnamed
    assert index.service_port("KUBE-EXT-NPX46M4PTMTKRN6Y") == named
    assert index.service_port("KUBE-SVC-TCOU7JCQXEZGVUNU") is None
    assert index.service_port("KUBE-SEP-NPX46M4PTMTKRN6Y") is None
    assert index.service_port("KUBE-SERVICES") is None


def test_index_finds_the_endpoint_of_a_chain() -> None:
    echo, other = key("default/echo-service"), key("default/kubernetes", "https")
    address = SocketAddress(ipaddress.ip_address("10.244.2.68"), 80)
    index = ChainIndex([echo, other])
    candidates: list[tuple[ServicePortKey, SocketAddress | str]] = [
        (other, address),
        (echo, "10.244.2.69:80"),
        (echo, address),
    ]
    assert index.endpoint("KUBE-SEP-3S34T3QK6SRXEDAX", candidates) == (echo, address)
    assert index.endpoint("KUBE-SEP-3S34T3QK6SRXEDAX", candidates[:2]) is None
    assert index.endpoint("KUBE-SVC-3S34T3QK6SRXEDAX", candidates) is None
    assert index.endpoint("DOCKER", candidates) is None
    older = endpoint_hash("default/echo-service", "", "tcp", address, colon=True)
    assert index.endpoint(f"KUBE-SEP-{older}", candidates) == (echo, address)


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("default/local-cluster: cluster IP", "default/local-cluster"),
        ("default/local-cluster:", "default/local-cluster"),
        ("default/local-cluster", "default/local-cluster"),
        ("default/x:http -> 10.0.0.1:80", "default/x:http"),
        ("default/x -> [fd00::1]:80", "default/x"),
        ("default/x loadbalancer IP", "default/x"),
        ("default/x external IP", "default/x"),
        ("default/x has no endpoints", "default/x"),
        ("default/x:p has no local endpoints", "default/x:p"),
        ("default/x health check node port", "default/x"),
        ("default/x traffic not accepted by KUBE-FW-NPX46M4PTMTKRN6Y", "default/x"),
        ("masquerade traffic for default/x external destinations", "default/x"),
        ("pod traffic for default/x:p external destinations", "default/x:p"),
        ("masquerade LOCAL traffic for default/x external destinations", "default/x"),
        ("route LOCAL traffic for default/x:p external destinations", "default/x:p"),
        ("masquerade LOCAL traffic for default/x:p LB IP", "default/x:p"),
        ("route LOCAL traffic for default/x: LB IP to service chain", "default/x"),
        ("Balancing rule 0 for default/x", "default/x"),
        ("other traffic to default/x will be dropped by KUBE-PROXY-FIREWALL", "default/x"),
        ("Redirect pods trying to reach external loadbalancer VIP to clusterIP", None),
        ("kubernetes service portals", None),
        ("and/or so", None),
        ("see 10.0.0.0/8", None),
        ("", None),
    ],
)
def test_service_port_of_comment(comment: str, expected: str | None) -> None:
    assert service_port_of_comment(comment) == expected
