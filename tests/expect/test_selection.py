"""Which endpoints a node uses, at every release at which that changed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec import structs

from kdiag.expect.endpoints import Candidate
from kdiag.expect.selection import ProxyRules, Selection, select, uses_local_externally, uses_local_internally
from kdiag.model.addresses import SocketAddress
from kdiag.model.cluster import Service, TrafficPolicy
from kdiag.model.proxy import Version
from tests.checks import builders as b

LOCAL = TrafficPolicy.LOCAL
HINTS = "service.kubernetes.io/topology-aware-hints"
MODE = "service.kubernetes.io/topology-mode"
ZONE = "topology.kubernetes.io/zone"


def candidate(
    last: int,
    *,
    node: str | None = "node01",
    ready: bool = True,
    serving: bool | None = None,
    terminating: bool = False,
    zones: tuple[str, ...] = (),
    nodes: tuple[str, ...] = (),
) -> Candidate:
    return Candidate(
        at=SocketAddress(b.address(f"10.244.1.{last}"), 80),
        ready=ready,
        serving=ready if serving is None else serving,
        terminating=terminating,
        node_name=node,
        zone_hints=frozenset(zones),
        node_hints=frozenset(nodes),
    )


def rules(version: Version, *, gates: Mapping[str, bool] | None = None, zone: str | None = None) -> ProxyRules:
    labels = {ZONE: zone} if zone else {}
    return ProxyRules(version=version, gates=gates or {}, node_name="node01", node=b.node("node01", labels=labels))


def picked(found: Selection) -> tuple[list[int], list[int], bool]:
    """Last octets of the cluster's and the local endpoints, and whether there is any."""

    def octets(items: tuple[Candidate, ...]) -> list[int]:
        return [int(item.at.address) & 0xFF for item in items]

    return octets(found.cluster), octets(found.local), found.has_any


def chosen(
    service: Service, version: Version, *candidates: Candidate, **more: object
) -> tuple[list[int], list[int], bool]:
    return picked(select(candidates, service, rules(version, **more)))  # type: ignore[arg-type]


READY = (candidate(1), candidate(2, node="node02"), candidate(3, node="node02", ready=False))


@pytest.mark.parametrize("version", [(1, 16), (1, 20), (1, 23), (1, 24), (1, 25), (1, 26), (1, 37)])
def test_ready_endpoints_serve_and_the_nodes_own_serve_local_policies(version: Version) -> None:
    assert chosen(b.service(), version, *READY) == ([1, 2], [1], True)


@pytest.mark.parametrize("version", [(1, 16), (1, 22), (1, 25), (1, 36)])
def test_nothing_usable(version: Version) -> None:
    assert chosen(b.service(), version, candidate(1, ready=False)) == ([], [], False)
    assert chosen(b.service(), version) == ([], [], False)


def test_a_node_that_nobody_knows_has_no_local_endpoint() -> None:
    unknown = structs.replace(rules((1, 36)), node=None, node_name="nowhere")
    assert picked(select(READY, b.service(), unknown)) == ([1, 2], [], True)


# -- terminating endpoints ---------------------------------------------------------------------------------------------

GOING = candidate(7, ready=False, serving=True, terminating=True)
GOING_ELSEWHERE = candidate(8, node="node02", ready=False, serving=True, terminating=True)
GONE = candidate(9, ready=False, serving=False, terminating=True)


@pytest.mark.parametrize(
    ("version", "gates", "expected"),
    [
        ((1, 20), {}, ([], [], False)),
        ((1, 21), {}, ([], [], False)),
        ((1, 23), {}, ([], [], False)),
        ((1, 24), {}, ([], [], False)),
        ((1, 25), {}, ([], [], False)),
        ((1, 25), {"ProxyTerminatingEndpoints": True}, ([7, 8], [7], True)),
        ((1, 26), {"ProxyTerminatingEndpoints": False}, ([], [], False)),
        ((1, 26), {}, ([7, 8], [7], True)),
        ((1, 37), {}, ([7, 8], [7], True)),
    ],
)
def test_serving_terminating_endpoints_are_the_last_resort_from_1_26(
    version: Version, gates: dict[str, bool], expected: tuple[list[int], list[int], bool]
) -> None:
    assert chosen(b.service(), version, GOING, GOING_ELSEWHERE, GONE, gates=gates) == expected


def test_a_ready_endpoint_anywhere_keeps_terminating_ones_out_of_the_cluster_but_not_of_the_node() -> None:
    assert chosen(b.service(), (1, 36), candidate(2, node="node02"), GOING) == ([2], [7], True)


def test_a_ready_endpoint_that_is_terminating_is_ready() -> None:
    """publishNotReadyAddresses: the slice says ready until the pod is gone."""
    assert chosen(b.service(), (1, 36), candidate(4, terminating=True), GOING) == ([4], [4], True)


# -- traffic policies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "external_ips", "version", "expected"),
    [
        ("NodePort", (), (1, 16), True),
        ("LoadBalancer", (), (1, 28), True),
        ("ClusterIP", ("203.0.113.1",), (1, 28), False),
        ("ClusterIP", ("203.0.113.1",), (1, 29), True),
        ("ClusterIP", (), (1, 36), False),
    ],
)
def test_external_policy_local_counts(
    type: str, external_ips: tuple[str, ...], version: Version, expected: bool
) -> None:
    service = b.service(type=type, external_policy=LOCAL, external_ips=external_ips)
    assert uses_local_externally(service, version) is expected
    assert not uses_local_externally(structs.replace(service, external_policy=TrafficPolicy.CLUSTER), version)


@pytest.mark.parametrize(
    ("version", "gates", "expected"),
    [
        ((1, 20), {}, False),
        ((1, 21), {}, False),
        ((1, 21), {"ServiceInternalTrafficPolicy": True}, True),
        ((1, 22), {}, True),
        ((1, 25), {"ServiceInternalTrafficPolicy": False}, False),
        ((1, 37), {}, True),
    ],
)
def test_internal_policy_local_counts(version: Version, gates: dict[str, bool], expected: bool) -> None:
    assert uses_local_internally(b.service(internal_policy=LOCAL), rules(version, gates=gates)) is expected
    assert not uses_local_internally(b.service(), rules(version, gates=gates))


AWAY = (candidate(2, node="node02"),)


@pytest.mark.parametrize(
    ("version", "internal", "external", "expected"),
    [
        # Up to 1.23 internal Local narrows everything to the node, and then nothing counts as "no endpoints" …
        ((1, 22), LOCAL, TrafficPolicy.CLUSTER, ([], [], False)),
        ((1, 23), LOCAL, TrafficPolicy.CLUSTER, ([], [], False)),
        # … but not where external Local is set as well (1.22 and 1.23 keep all and pick later).
        ((1, 23), LOCAL, LOCAL, ([2], [], True)),
        ((1, 23), TrafficPolicy.CLUSTER, LOCAL, ([2], [], True)),
        ((1, 24), LOCAL, TrafficPolicy.CLUSTER, ([2], [], True)),
        ((1, 36), LOCAL, LOCAL, ([2], [], True)),
    ],
)
def test_local_policies_without_a_local_endpoint(
    version: Version,
    internal: TrafficPolicy,
    external: TrafficPolicy,
    expected: tuple[list[int], list[int], bool],
) -> None:
    service = b.service(type="NodePort", internal_policy=internal, external_policy=external)
    assert chosen(service, version, *AWAY) == expected


# -- topology ----------------------------------------------------------------------------------------------------------

ZONED = (candidate(1, zones=("a",)), candidate(2, zones=("b",), node="node02"), candidate(3, zones=("a", "b"), node="node03"))  # fmt: skip
ALL, IN_A = [1, 2, 3], [1, 3]


@pytest.mark.parametrize(
    ("version", "annotations", "gates", "expected"),
    [
        ((1, 20), {HINTS: "Auto"}, {}, ALL),
        ((1, 20), {HINTS: "Auto"}, {"TopologyAwareHints": True}, ALL),
        ((1, 21), {HINTS: "Auto"}, {"TopologyAwareHints": True}, IN_A),
        ((1, 23), {HINTS: "Auto"}, {}, ALL),
        ((1, 23), {HINTS: "auto"}, {"TopologyAwareHints": True}, IN_A),
        ((1, 24), {HINTS: "Auto"}, {}, IN_A),
        ((1, 24), {HINTS: "Auto"}, {"TopologyAwareHints": False}, ALL),
        ((1, 24), {}, {}, ALL),
        ((1, 26), {HINTS: "Heuristic"}, {}, ALL),
        ((1, 26), {MODE: "Auto"}, {}, ALL),
        ((1, 27), {MODE: "Auto"}, {}, IN_A),
        ((1, 27), {HINTS: "Heuristic"}, {}, IN_A),
        ((1, 27), {HINTS: "Disabled", MODE: "Auto"}, {}, ALL),
        ((1, 27), {MODE: "disabled"}, {}, ALL),
        ((1, 30), {}, {}, ALL),
        ((1, 30), {}, {"ServiceTrafficDistribution": True}, IN_A),
        ((1, 30), {MODE: "Auto"}, {}, IN_A),
        ((1, 31), {}, {}, IN_A),
        ((1, 31), {MODE: "Disabled"}, {}, IN_A),
        ((1, 31), {}, {"ServiceTrafficDistribution": False}, ALL),
        ((1, 37), {}, {}, IN_A),
    ],
)
def test_zone_hints_count_by_annotation_until_1_30_and_alone_from_1_31(
    version: Version, annotations: dict[str, str], gates: dict[str, bool], expected: list[int]
) -> None:
    service = b.service(annotations=annotations)
    assert chosen(service, version, *ZONED, gates=gates, zone="a")[0] == expected


@pytest.mark.parametrize("zone", [None, "c"])
def test_hints_mean_nothing_to_a_node_in_no_zone_of_theirs(zone: str | None) -> None:
    assert chosen(b.service(), (1, 36), *ZONED, zone=zone)[0] == ALL


def test_one_ready_endpoint_without_hint_turns_hints_off() -> None:
    assert chosen(b.service(), (1, 36), *ZONED, candidate(4), zone="a")[0] == [*ALL, 4]


def test_endpoints_that_are_not_ready_do_not_turn_hints_off() -> None:
    assert chosen(b.service(), (1, 36), *ZONED, candidate(4, ready=False), zone="a")[0] == IN_A


def test_hints_narrow_neither_local_nor_terminating_endpoints() -> None:
    one = candidate(1, zones=("b",))
    assert chosen(b.service(), (1, 36), one, candidate(2, zones=("a",), node="node02"), zone="a") == ([2], [1], True)
    last = candidate(5, ready=False, serving=True, terminating=True, zones=("b",))
    assert chosen(b.service(), (1, 36), last, zone="a")[0] == [5]


def test_external_policy_local_ignores_hints_up_to_1_23() -> None:
    service = b.service(type="NodePort", external_policy=LOCAL, annotations={HINTS: "auto"})
    gates = {"TopologyAwareHints": True}
    assert chosen(service, (1, 23), *ZONED, gates=gates, zone="a")[0] == ALL
    assert chosen(service, (1, 24), *ZONED, gates=gates, zone="a")[0] == IN_A


NODED = (candidate(1, nodes=("node01",), zones=("a",)), candidate(2, nodes=("node02",), zones=("a",), node="node02"))


@pytest.mark.parametrize(
    ("version", "gates", "expected"),
    [
        ((1, 32), {"PreferSameTrafficDistribution": True}, [1, 2]),
        ((1, 33), {}, [1, 2]),
        ((1, 33), {"PreferSameTrafficDistribution": True}, [1]),
        ((1, 34), {}, [1]),
        ((1, 34), {"PreferSameTrafficDistribution": False}, [1, 2]),
        ((1, 37), {}, [1]),
    ],
)
def test_node_hints_count_from_1_34(version: Version, gates: dict[str, bool], expected: list[int]) -> None:
    assert chosen(b.service(), version, *NODED, gates=gates, zone="a")[0] == expected


def test_without_a_node_hint_for_this_node_the_zone_decides() -> None:
    elsewhere = (candidate(1, nodes=("node09",), zones=("a",)), candidate(2, nodes=("node02",), zones=("b",)))
    assert chosen(b.service(), (1, 36), *elsewhere, zone="a")[0] == [1]
    one_lacks = (candidate(1, nodes=("node01",), zones=("b",)), candidate(2, zones=("a",)))
    assert chosen(b.service(), (1, 36), *one_lacks, zone="a")[0] == [2]
