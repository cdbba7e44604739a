from __future__ import annotations

import pytest

from kdiag.errors import TargetError
from kdiag.model.cluster import ClusterState, Node, Pod, Service
from kdiag.model.lookup import did_you_mean, find_node, find_pod, find_service, near_names
from kdiag.model.objects import Metadata, ObjectKey


def key(text: str) -> ObjectKey:
    namespace, _, name = text.rpartition("/")
    return ObjectKey(namespace=namespace, name=name)


def state(*, services: tuple[str, ...] = (), pods: tuple[str, ...] = (), nodes: tuple[str, ...] = ()) -> ClusterState:
    return ClusterState(
        services=tuple(Service(meta=Metadata(key=key(text))) for text in services),
        pods=tuple(Pod(meta=Metadata(key=key(text))) for text in pods),
        nodes=tuple(Node(meta=Metadata(key=key(text))) for text in nodes),
    )


CLUSTER = state(
    services=("shop/web", "default/web", "default/kubernetes", "shop/cart"),
    pods=("shop/web-1", "default/web-1", "default/curl"),
    nodes=("node01", "node02"),
)


def test_near_names() -> None:
    known = ["stale-endpoint", "missing-endpoint", "KD204", "KD301"]
    assert near_names("stale-endpont", known) == ("stale-endpoint", "missing-endpoint")
    assert near_names("kd2", known) == ("KD204",)
    assert near_names("xyz", known) == ()
    assert near_names("node", ["node03", "node01", "node02", "node04"]) == ("node01", "node02", "node03")


def test_order_of_the_known_names_does_not_matter() -> None:
    known = ["web-b", "web-a", "web-c", "WEB-A"]
    assert near_names("web-x", known) == near_names("web-x", known[::-1])


def test_did_you_mean() -> None:
    assert did_you_mean("wep", ["web"]) == "did you mean web?"
    assert did_you_mean("--sn", ["--snapshot", "--snip", "--x"]) == "did you mean --snapshot or --snip?"
    assert did_you_mean("wep", []) == ""


def test_services_are_found() -> None:
    assert find_service(CLUSTER, key("shop/web")).key == key("shop/web")
    assert find_service(CLUSTER, key("cart")).key == key("shop/cart")


@pytest.mark.parametrize(
    ("wanted", "message", "hint"),
    [
        ("web", "the Service name web is not unique", "name one of default/web or shop/web"),
        ("default/cart", "there is no Service default/cart", "did you mean shop/cart?"),
        ("default/kubernets", "there is no Service default/kubernets", "did you mean default/kubernetes?"),
        ("shopp/cart2", "there is no Service shopp/cart2", "did you mean shop/cart?"),
        ("crt", "there is no Service crt", "did you mean cart?"),
        ("default/zzzzzzzzzz", "there is no Service default/zzzzzzzzzz", ""),
    ],
)
def test_services_are_not_found(wanted: str, message: str, hint: str) -> None:
    with pytest.raises(TargetError) as caught:
        find_service(CLUSTER, key(wanted))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_no_services_at_all() -> None:
    with pytest.raises(TargetError) as caught:
        find_service(state(), key("default/web"))
    assert caught.value.hint == "the snapshot holds no Services"


def test_nodes() -> None:
    assert find_node(CLUSTER, "node01") == "node01"
    assert find_node(CLUSTER, "recorded-only", also=["recorded-only"]) == "recorded-only"


@pytest.mark.parametrize(
    ("nodes", "hint"),
    [
        (("node01",), "did you mean node01?"),
        ((), "the snapshot holds no nodes"),
        (("a",), "the node is a"),
        (("a", "b", "c"), "the nodes are a, b or c"),
        (tuple(f"x{number}" for number in range(9)), "the snapshot holds 9 nodes"),
    ],
)
def test_nodes_are_not_found(nodes: tuple[str, ...], hint: str) -> None:
    with pytest.raises(TargetError) as caught:
        find_node(state(nodes=nodes), "node1")
    assert (caught.value.message, caught.value.hint) == ("there is no node node1", hint)


def test_pods() -> None:
    assert find_pod(CLUSTER, key("shop/web-1")).key == key("shop/web-1")
    assert find_pod(CLUSTER, key("curl")).key == key("default/curl")


@pytest.mark.parametrize(
    ("wanted", "message", "hint"),
    [
        ("web-1", "the pod name web-1 is not unique", "name one of pod/default/web-1 or pod/shop/web-1"),
        ("shop/curl", "there is no pod shop/curl", "did you mean default/curl?"),
        ("default/crul", "there is no pod default/crul", "did you mean default/curl?"),
    ],
)
def test_pods_are_not_found(wanted: str, message: str, hint: str) -> None:
    with pytest.raises(TargetError) as caught:
        find_pod(CLUSTER, key(wanted))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_no_pods_at_all() -> None:
    with pytest.raises(TargetError) as caught:
        find_pod(state(), key("curl"))
    assert caught.value.hint == "the snapshot holds no pods"
