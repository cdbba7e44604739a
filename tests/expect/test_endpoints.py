from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.expect.endpoints import Candidates, candidates_of
from kdiag.model.addresses import Family, Protocol
from kdiag.model.cluster import ServicePort
from kdiag.model.endpoints import Endpoint, EndpointSlice, LegacyEndpoints
from tests.checks import builders as b

NEW = (1, 36)


def found(*slices: EndpointSlice, port: ServicePort | None = None, version: tuple[int, int] = NEW) -> list[list[str]]:
    """Addresses of each way to settle the endpoints."""
    return [[str(candidate.at) for candidate in way] for way in ways(*slices, port=port, version=version)]


def ways(
    *slices: EndpointSlice,
    port: ServicePort | None = None,
    version: tuple[int, int] = NEW,
    family: Family = Family.IPV4,
    here: str | None = "node01",
) -> tuple[Candidates, ...]:
    service_port = port or b.service_port()
    service = b.service(ports=[service_port])
    return candidates_of(b.cluster(service, list(slices)), service, service_port, family, version, here)


def with_hints(item: Endpoint, zones: tuple[str, ...] = (), nodes: tuple[str, ...] = ()) -> Endpoint:
    return structs.replace(item, zone_hints=zones, node_hints=nodes)


def test_endpoints_come_in_address_order_over_all_slices() -> None:
    one = b.endpoint_slice("web", b.endpoint("10.244.1.20"), b.endpoint("10.244.1.9"), name="web-1")
    two = b.endpoint_slice("web", b.endpoint("10.244.1.10"), name="web-2")
    assert found(one, two) == [["10.244.1.9:80", "10.244.1.10:80", "10.244.1.20:80"]]


@pytest.mark.parametrize(
    ("slice_port", "expected"),
    [
        (b.slice_port(8080, "http"), ["10.244.1.5:8080"]),
        (b.slice_port(8080, ""), []),
        (b.slice_port(8080, "https"), []),
        (b.slice_port(8080, "http", "UDP"), []),
        (b.slice_port(None, "http"), []),
    ],
)
def test_a_slice_port_counts_by_name_and_protocol_and_needs_a_number(slice_port: object, expected: list[str]) -> None:
    item = b.endpoint_slice("web", b.endpoint(), ports=[slice_port])  # type: ignore[list-item]
    assert found(item, port=b.service_port(80, 9999, name="http")) == [expected]


def test_slices_of_the_other_family_and_of_names_are_left_out() -> None:
    v6 = b.endpoint_slice("web", b.endpoint("fd00::5"))
    names = b.endpoint_slice("web", b.endpoint("10.244.1.6"), address_type="FQDN")
    assert found(v6, names) == [[]]
    assert [[str(item.at) for item in way] for way in ways(v6, family=Family.IPV6)] == [["[fd00::5]:80"]]


def test_slices_of_other_proxies_are_left_out() -> None:
    assert found(b.endpoint_slice("web", b.endpoint(), left_alone=True)) == [[]]


def test_slices_of_other_services_and_without_one_are_left_out() -> None:
    assert found(b.endpoint_slice("other", b.endpoint()), b.endpoint_slice(None, b.endpoint())) == [[]]


@pytest.mark.parametrize(
    ("ready", "serving", "terminating", "version", "expected"),
    [
        (None, None, None, NEW, (True, True, False)),
        (True, None, None, NEW, (True, True, False)),
        (False, None, None, NEW, (False, False, False)),
        (False, True, True, NEW, (False, True, True)),
        (False, False, True, NEW, (False, False, True)),
        (False, True, True, (1, 21), (False, True, True)),
        # Up to 1.20 proxies know ready only.
        (False, True, True, (1, 20), (False, False, False)),
        (True, False, True, (1, 20), (True, True, False)),
    ],
)
def test_conditions_get_their_defaults(
    ready: bool | None,
    serving: bool | None,
    terminating: bool | None,
    version: tuple[int, int],
    expected: tuple[bool, bool, bool],
) -> None:
    item = b.endpoint(ready=ready, serving=serving, terminating=terminating)
    (way,) = ways(b.endpoint_slice("web", item), version=version)
    assert [(c.ready, c.serving, c.terminating) for c in way] == [expected]
    assert way[0].last_resort is (expected[1] and expected[2])


def test_an_endpoint_told_twice_alike_is_one() -> None:
    one = b.endpoint_slice("web", b.endpoint(), name="a")
    two = b.endpoint_slice("web", b.endpoint(), name="b")
    assert found(one, two) == [["10.244.1.5:80"]]


def test_every_way_to_settle_a_contradiction_is_returned() -> None:
    one = b.endpoint_slice("web", b.endpoint(ready=True), b.endpoint("10.244.1.6"), name="a")
    two = b.endpoint_slice("web", b.endpoint(ready=False), name="b")
    settled = ways(one, two)
    assert sorted([[c.ready for c in way] for way in settled]) == [[False, True], [True, True]]


@pytest.mark.parametrize(
    ("here", "expected"), [("node01", "node01"), ("node02", "node02"), ("node03", None), (None, None)]
)
def test_of_two_entries_that_differ_in_the_node_the_one_of_this_node_counts(
    here: str | None, expected: str | None
) -> None:
    one = b.endpoint_slice("web", b.endpoint(node=None), b.endpoint(node="node01"), name="a")
    two = b.endpoint_slice("web", b.endpoint(node="node02"), name="b")
    (way,) = ways(one, two, here=here)
    assert [c.node_name for c in way] == [expected]


def test_hints_that_differ_are_a_contradiction() -> None:
    one = b.endpoint_slice("web", with_hints(b.endpoint(), ("a",)), name="a")
    two = b.endpoint_slice("web", with_hints(b.endpoint(), ("b",), ("node01",)), name="b")
    assert [[sorted(c.zone_hints) for c in way] for way in ways(one, two)] == [[["a"]], [["b"]]]


@pytest.mark.parametrize(("count", "expected"), [(8, 256), (9, 0)])
def test_with_too_many_contradictions_nothing_is_expected(count: int, expected: int) -> None:
    ready = [b.endpoint(f"10.244.1.{index}", ready=True) for index in range(count)]
    not_ready = [b.endpoint(f"10.244.1.{index}", ready=False) for index in range(count)]
    assert (
        len(ways(b.endpoint_slice("web", *ready, name="a"), b.endpoint_slice("web", *not_ready, name="b"))) == expected
    )


@pytest.mark.parametrize(
    ("version", "expected"),
    [((1, 22), [["10.244.1.5:80", "10.244.1.5:81"]]), ((1, 21), [["10.244.1.5:80"], ["10.244.1.5:81"]])],
)
def test_up_to_1_21_one_port_of_an_address_is_kept(version: tuple[int, int], expected: list[list[str]]) -> None:
    one = b.endpoint_slice("web", b.endpoint(), ports=[80], name="a")
    two = b.endpoint_slice("web", b.endpoint(), ports=[81], name="b")
    assert found(one, two, version=version) == expected


# -- Endpoints objects ---------------------------------------------------------------------------------------------


def legacy(where: str, *addresses: str, port: int = 80, port_name: str = "", protocol: str = "TCP") -> LegacyEndpoints:
    entries = tuple((b.address(item), port_name, Protocol(protocol), port) for item in addresses)
    return LegacyEndpoints(meta=b.meta(where), addresses=entries, not_ready_addresses=entries[:0])


@pytest.mark.parametrize(
    ("version", "expected"), [((1, 16), "10.244.1.7:80"), ((1, 18), "10.244.1.7:80"), ((1, 19), "10.244.1.5:80")]
)
def test_proxies_up_to_1_18_read_endpoints(version: tuple[int, int], expected: str) -> None:
    service = b.service()
    state = b.cluster(service, b.endpoint_slice("web", b.endpoint()), legacy("web", "10.244.1.7"))
    (way,) = candidates_of(state, service, service.ports[0], Family.IPV4, version, "node01")
    assert [str(c.at) for c in way] == [expected]


def test_without_endpoints_in_the_recording_slices_stand_in() -> None:
    service = b.service()
    state = b.cluster(service, b.endpoint_slice("web", b.endpoint()), seen={"services", "endpointslices"})
    (way,) = candidates_of(state, service, service.ports[0], Family.IPV4, (1, 17), "node01")
    assert [str(c.at) for c in way] == ["10.244.1.5:80"]


def test_endpoints_count_by_service_port_name_protocol_and_family_and_are_on_their_pods_node() -> None:
    service = b.service(ports=[b.service_port(name="http")])
    state = b.cluster(
        service,
        b.pod("web-1", ips=["10.244.1.7"], node="node02"),
        legacy("other", "10.244.1.1", port_name="http"),
        legacy("web", "10.244.1.7", "10.244.1.8", "fd00::7", port_name="http"),
        legacy("web", "10.244.1.9", port_name="https"),
        legacy("web", "10.244.1.9", port_name="http", protocol="UDP"),
    )
    (way,) = candidates_of(state, service, service.ports[0], Family.IPV4, (1, 18), "node01")
    assert [(str(c.at), c.node_name, c.ready, c.last_resort) for c in way] == [
        ("10.244.1.7:80", "node02", True, False),
        ("10.244.1.8:80", None, True, False),
    ]
