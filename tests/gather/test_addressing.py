from __future__ import annotations

from pathlib import Path

import pytest

from kdiag.errors import UsageError
from kdiag.gather.addressing import AddressType, node_addresses, read_inventory
from kdiag.gather.transports.interface import NodeAddress
from kdiag.model.cluster import Node
from kdiag.model.objects import Metadata, ObjectKey
from kdiag.model.report import GapKind


def node(
    name: str,
    *addresses: tuple[str, str],
    os: str = "linux",
    labels: dict[str, str] | None = None,
    taints: tuple[str, ...] = (),
) -> Node:
    meta = Metadata(key=ObjectKey(namespace="", name=name), labels=labels or {})
    return Node(meta=meta, addresses=addresses, os=os, taints=taints)


INTERNAL = ("InternalIP", "10.0.0.1")
EXTERNAL = ("ExternalIP", "192.0.2.1")


def test_addresses_by_name_and_type() -> None:
    nodes = [node("b", ("Hostname", "b.example.org"), INTERNAL, ("InternalIP", "fd00::1")), node("a", INTERNAL)]
    found, gaps = node_addresses(nodes)
    assert found == (NodeAddress(node="a", host="10.0.0.1"), NodeAddress(node="b", host="10.0.0.1"))
    assert gaps == ()
    found, gaps = node_addresses(nodes, address_type=AddressType.HOSTNAME)
    assert found == (NodeAddress(node="b", host="b.example.org"),)
    assert [(gap.node, gap.reason) for gap in gaps] == [
        ("a", "its Node object has no Hostname; use --address-type InternalIP")
    ]
    assert node_addresses([node("c", ("InternalDNS", "x"))])[1][0].reason.endswith("name it in an inventory file")


@pytest.mark.parametrize(
    "other",
    [
        node("w", INTERNAL, os="windows"),
        node("v", INTERNAL, labels={"type": "virtual-kubelet"}),
        node("t", INTERNAL, taints=("virtual-kubelet.io/provider=azure:NoSchedule",)),
        node("f", INTERNAL, labels={"eks.amazonaws.com/compute-type": "fargate"}),
    ],
    ids=lambda item: item.name,
)
def test_nodes_that_cannot_be_logged_in_to(other: Node) -> None:
    found, (gap,) = node_addresses([other], inventory={other.name: NodeAddress(node=other.name, host="h")})
    assert found == ()
    assert gap.kind is GapKind.NOT_APPLICABLE


def test_inventory_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(
        "a: 192.0.2.11\nb: admin@192.0.2.12:2222\nc: {host: c.example.org, user: root, port: 22, key: ~/.ssh/id}\n"
        "d: '[2001:db8::1]:22'\ngone: 192.0.2.99\n"
    )
    inventory = read_inventory(file)
    found, gaps = node_addresses([node(name, EXTERNAL) for name in "abcd"], inventory=inventory)
    assert gaps == ()
    assert found == (
        NodeAddress(node="a", host="192.0.2.11"),
        NodeAddress(node="b", host="192.0.2.12", user="admin", port_number=2222),
        NodeAddress(node="c", host="c.example.org", user="root", port_number=22, key_file="~/.ssh/id"),
        NodeAddress(node="d", host="2001:db8::1", port_number=22),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("- a", "names no nodes"),
        ("", "names no nodes"),
        ("a: 3", "does not say where a is"),
        ("a: {user: root}", "does not say where a is"),
        ("a: {host: h, shell: sh}", "says shell of a, which is unknown"),
        ("a: {host: h, port: 0}", "gives a a port that is none"),
        ("a: {host: h, port: yes}", "gives a a port that is none"),
        ("a: {host: h, user: 3}", "does not say where a is"),
        ("a: 'b c'", "'b c' is not a host to log in to"),
        ("a: h:99999", "'99999' is not a port"),
    ],
)
def test_inventories_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_inventory(file)
    assert message in caught.value.message
    assert caught.value.hint


def test_inventory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the inventory"):
        read_inventory(tmp_path / "none")
