"""What differences are called in messages (kdiag.checks.group_words)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kdiag.checks.group_finding import Bundle
from kdiag.checks.group_words import (
    LINES_LIMIT,
    address_words,
    backends_of,
    clients,
    count,
    families,
    lines_by_service,
    listed,
    on_nodes,
    owner_of,
    service_names,
    share_text,
    subject,
    through,
    with_owners,
)
from kdiag.model.addresses import Family, Protocol
from kdiag.model.dataplane import Disposition, FrontendKind, Position
from kdiag.model.difference import CauseKind, Difference, Symptom, Unclear
from kdiag.model.endpoints import LegacyEndpoints
from kdiag.model.view import View
from tests.checks.builders import NOW, cluster, endpoint, endpoint_slice, meta, node, node_view, pod, service
from tests.checks.builders import view as plain_view
from tests.checks.differences import at_all_positions, difference, frontend, group, owner, socket, view_of

CAUSE = CauseKind.STALE_NODE


def bundle_of(*differences: Difference) -> Bundle:
    nodes = sorted({item.node for item in differences})
    return Bundle(
        groups=tuple(group(CAUSE, *(item for item in differences if item.node == name), node=name) for name in nodes)
    )


def seen(*differences: Difference, judged: tuple[Position, ...] = ()) -> tuple[View, Bundle]:
    bundle = bundle_of(*differences)
    walked = [replace(differences[0].frontend, position=position) for position in judged]
    return view_of(*bundle.groups, judged=walked), bundle


@pytest.mark.parametrize(
    ("items", "limit", "text"),
    [
        ([], 3, ""),
        (["a"], 3, "a"),
        (["a", "b", "a"], 3, "a and b"),
        (["a", "b", "c"], 3, "a, b and c"),
        (["a", "b", "c", "d", "e"], 3, "a, b, c and 2 more"),
    ],
)
def test_lists_in_words(items: list[str], limit: int, text: str) -> None:
    assert listed(items, limit) == text


def test_counts_and_families_in_words() -> None:
    assert (count(1, "Service"), count(2, "Service")) == ("1 Service", "2 Services")
    assert families([Family.IPV4, Family.IPV6]) == "IPv4 and IPv6"


def test_nodes_are_named_up_to_a_limit() -> None:
    many = bundle_of(*(difference(node=f"node{number:02}") for number in range(1, 9)))
    assert on_nodes(many) == "On node01, node02, node03, node04, node05 and 3 more"


def test_the_subject_is_a_port_or_a_number_of_services() -> None:
    assert subject(bundle_of(difference())) == "default/web 80/TCP"
    assert subject(bundle_of(difference(port="443/TCP"), difference())) == "default/web 443/TCP and 80/TCP"
    assert subject(bundle_of(difference(), difference(service="db"))) == "2 Services"
    assert subject(bundle_of(difference(service=None))) == "10.96.0.50:80/TCP"


NODE_PORT = frontend("10.244.1.1:30080", kind=FrontendKind.NODE_PORT)


def test_addresses_in_words() -> None:
    assert address_words(NODE_PORT) == "NodePort 30080/TCP"
    assert (
        through(bundle_of(difference(at=NODE_PORT), difference())) == "ClusterIP 10.96.0.50:80/TCP and 1 more address"
    )
    balancer = frontend("192.168.56.200:80", kind=FrontendKind.LOAD_BALANCER_IP)
    three = bundle_of(difference(at=NODE_PORT), difference(), difference(at=balancer))
    assert through(three) == "ClusterIP 10.96.0.50:80/TCP and 2 more addresses"


def test_clients_of_all_positions() -> None:
    assert clients(*seen(*at_all_positions(difference()))) == (
        "all pods on the node, the node itself and all clients outside the node"
    )


def test_clients_that_are_spared_are_named() -> None:
    pods_only = seen(difference(), judged=(Position.NODE, Position.EXTERNAL))
    assert clients(*pods_only) == (
        "all pods on the node; the node itself and clients outside the node are not affected"
    )
    node_spared = seen(difference(), difference(at=frontend(position=Position.EXTERNAL)), judged=(Position.NODE,))
    assert clients(*node_spared) == (
        "all pods on the node and all clients outside the node; the node itself is not affected"
    )


def test_clients_that_were_not_judged_are_not_said_to_be_spared() -> None:
    assert clients(*seen(difference())) == "all pods on the node"
    bundle = bundle_of(difference())
    unseen = plain_view(nodes=[node_view("node01")])
    assert clients(unseen, bundle) == "all pods on the node"
    unclear = Unclear(node="node01", reason="?", service_ports=(owner(),))
    both = [frontend(position=Position.NODE)]
    assert clients(view_of(*bundle.groups, judged=both, unclear=[unclear]), bundle) == "all pods on the node"


def test_some_clients_are_named_by_their_addresses() -> None:
    one = difference(who="pods with the address 10.244.1.5", sources="10.244.1.5")
    other = difference(who="pods with the address 10.244.1.9", sources="10.244.1.9")
    assert clients(*seen(one)) == "pods with the address 10.244.1.5"
    assert clients(*seen(one, other)) == "pods with the address 10.244.1.5, 10.244.1.9"
    assert clients(*seen(replace(one, who=""))) == "pods with the address 10.244.1.5"


def test_parts_that_make_up_the_whole_are_all_clients() -> None:
    one = difference(who="pods with the address 10.244.1.5", sources="10.244.1.5")
    rest = replace(
        one,
        who="all pods on the node but 10.244.1.5",
        clients=replace(one.clients, addresses=one.clients.addresses.complement()),
    )
    assert clients(*seen(one, rest)) == "all pods on the node"
    bundle = bundle_of(one, rest)
    unwalked = plain_view(nodes=[node_view("node01")])
    assert clients(unwalked, bundle).startswith("pods with the address any")


def test_shares_in_words() -> None:
    third = difference(gets={"10.244.1.9:80": 1 / 3, "10.244.1.5:80": 2 / 3}, backends=["10.244.1.9:80"])
    tiny = difference(gets={"10.244.1.9:80": 0.001, "10.244.1.5:80": 0.999}, backends=["10.244.1.9:80"])
    whole = difference(gets={"untranslated": 1.0})
    unknown = difference()
    assert share_text([third], lambda item, fate: fate.backend in item.backends) == "about 33 % of the new connections"
    assert share_text([tiny], lambda item, fate: fate.backend in item.backends) == "about 1 % of the new connections"
    assert share_text([third, whole], lambda _, fate: fate.disposition is Disposition.UNTRANSLATED) == (
        "every new connection"
    )
    assert share_text([unknown], lambda _, __: True) == "every new connection"


def test_backends_by_symptom_in_order() -> None:
    found = backends_of(
        [
            difference(Symptom.STALE_ENDPOINT, backends=["10.244.1.10:80", "10.244.1.9:80"]),
            difference(Symptom.MISSING_ENDPOINT, backends=["10.244.1.3:80"]),
        ],
        Symptom.STALE_ENDPOINT,
    )
    assert [str(item) for item in found] == ["10.244.1.9:80", "10.244.1.10:80"]
    assert service_names([difference(service="b"), difference(service="a"), difference(service=None)]) == (
        "10.96.0.50:80/TCP",
        "default/a",
        "default/b",
    )


STATE = cluster(
    service("web"),
    node("node01", addresses=("192.168.56.11", "node01.example")),
    pod("own", ips=("10.244.1.1",)),
    pod("idle", ips=("10.244.1.2",)),
    pod("db-1", ips=("10.244.1.3",)),
    pod("sick", ips=("10.244.1.4",), ready=False),
    pod("going", ips=("10.244.1.5",), deleted_at=NOW),
    pod("done", ips=("10.244.1.6",), phase="Succeeded"),
    endpoint_slice("web", endpoint("10.244.1.1", target="own"), endpoint("10.244.1.4", target="sick", ready=False)),
    endpoint_slice("db", endpoint("10.244.1.3", target="db-1")),
    endpoint_slice(None, endpoint("10.244.1.2", target="idle")),
)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("10.244.1.1:80", "pod default/own"),
        ("10.244.1.2:80", "pod default/idle"),
        ("10.244.1.3:80", "pod default/db-1, an endpoint of default/db"),
        ("10.244.1.4:80", "pod default/sick, which is not ready"),
        ("10.244.1.5:80", "pod default/going, which is being deleted"),
        ("10.244.1.6:80", "no pod has it"),
        ("10.244.1.7:80", "no pod has it"),
        ("192.168.56.11:6443", "an address of node node01"),
    ],
)
def test_whose_an_address_is(where: str, text: str) -> None:
    assert owner_of(STATE, socket(where), "default/web") == text


def test_old_clusters_without_slices_list_addresses_in_endpoints() -> None:
    def listing(name: str) -> LegacyEndpoints:
        return LegacyEndpoints(meta=meta(name), addresses=((socket("10.244.1.1:80").address, "", Protocol.TCP, 80),))

    own = cluster(pod("own", ips=("10.244.1.1",)), listing("web"), listing("db"))
    other = cluster(pod("own", ips=("10.244.1.1",)), listing("db"))
    assert owner_of(own, socket("10.244.1.1:80"), "default/web") == "pod default/own"
    assert owner_of(other, socket("10.244.1.1:80"), "default/web") == "pod default/own, an endpoint of default/db"


def test_owners_are_left_out_where_pods_were_not_read() -> None:
    blind = cluster(seen=("services", "endpointslices"))
    assert owner_of(blind, socket("10.244.1.7:80"), None) == ""
    assert with_owners(blind, [socket("10.244.1.7:80")], None) == "10.244.1.7:80"


def test_owners_are_bounded() -> None:
    many = [socket(f"10.244.9.{number}:80") for number in range(1, 7)]
    assert with_owners(STATE, many, None).endswith("10.244.9.4:80 (no pod has it) and 2 more")


def test_each_service_is_one_line() -> None:
    udp = frontend("10.96.0.10:53", protocol="UDP")
    differences = (
        difference(Symptom.STALE_ENDPOINT, backends=["10.244.1.7:80"]),
        difference(Symptom.MISSING_ENDPOINT, backends=["10.244.1.1:80"]),
        difference(Symptom.STALE_ENDPOINT, at=NODE_PORT, backends=["10.244.1.7:80"]),
        difference(at=udp, service="kube-system/dns", port="53/UDP"),
        difference(at=replace(NODE_PORT, port=30053), service="kube-system/dns", port="53/UDP"),
        difference(Symptom.NO_SUCH_SERVICE, at=frontend("10.96.0.60:80"), service="gone"),
        difference(Symptom.NO_SUCH_SERVICE, at=frontend("10.96.0.61:80")),
        difference(Symptom.NO_SUCH_SERVICE, at=frontend("10.96.0.62:80"), service=None),
        difference(Symptom.REFUSED, service="closed", at=frontend("10.96.0.63:80")),
        difference(Symptom.NOT_REFUSED, service="open", at=frontend("10.96.0.64:80")),
    )
    shown, bundle = seen(*differences)
    shown = replace(shown, cluster=STATE)
    assert lines_by_service(shown, bundle).splitlines() == [
        "- 10.96.0.62:80/TCP: no Service has the address, still programmed at 10.96.0.62:80",
        "- default/closed 80/TCP: refuses connections to 10.96.0.63:80 although endpoints exist",
        "- default/gone 80/TCP: deleted, still programmed at 10.96.0.60:80",
        "- default/open 80/TCP: does not refuse connections to 10.96.0.64:80 although no endpoint is usable",
        "- default/web 80/TCP: given up by the Service, still programmed at 10.96.0.61:80, "
        "sends to 10.244.1.7:80 (no pod has it), lacks 10.244.1.1:80",
        "- kube-system/dns 53/UDP: 10.96.0.10:53 and NodePort 30053 are not programmed",
    ]


def test_lines_are_bounded() -> None:
    shown, bundle = seen(*(difference(service=f"web-{number:02}") for number in range(LINES_LIMIT + 2)))
    lines = lines_by_service(shown, bundle).splitlines()
    assert len(lines) == LINES_LIMIT + 1
    assert lines[-1] == "- and 2 more Services"
    shown, bundle = seen(*(difference(service=f"web-{number:02}") for number in range(LINES_LIMIT + 1)))
    assert lines_by_service(shown, bundle).endswith("- and 1 more Service")
