"""Two readings of the API around the dumps: what only one of them says is not settled, and no finding.

Missing is what both readings have, stale what neither has.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from kdiag.model.difference import Comparison
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Snapshot
from kdiag.pipeline.flow import Scope, diagnose
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import cluster, fault, variant, variant_api

NODE = "node01"
BASE = "v1.36.2-iptables-nft"
SLICES = "endpointslices-v1"
Listed = dict[str, Any]
ApiEdit = Callable[[Listed], None]


def _slice_of(listed: Listed, service: str) -> dict[str, Any]:
    (found,) = (
        item for item in listed["items"] if item["metadata"]["labels"].get("kubernetes.io/service-name") == service
    )
    result: dict[str, Any] = found
    return result


def with_endpoint(address: str, service: str = "three-eps") -> ApiEdit:
    """One more ready endpoint of a Service."""

    def edit(listed: Listed) -> None:
        endpoints = _slice_of(listed, service)["endpoints"]
        more = copy.deepcopy(endpoints[0])
        more["addresses"] = [address]
        more.pop("targetRef", None)
        endpoints.append(more)

    return edit


def without_endpoint(address: str, service: str = "three-eps") -> ApiEdit:
    def edit(listed: Listed) -> None:
        found = _slice_of(listed, service)
        found["endpoints"] = [item for item in found["endpoints"] if item["addresses"] != [address]]

    return edit


def without_service(name: str) -> ApiEdit:
    def edit(listed: Listed) -> None:
        listed["items"] = [item for item in listed["items"] if item["metadata"]["name"] != name]

    return edit


def with_service(name: str, cluster_ip: str) -> ApiEdit:
    """A Service without endpoints."""

    def edit(listed: Listed) -> None:
        more = copy.deepcopy(next(item for item in listed["items"] if item["metadata"]["name"] == "local-cluster"))
        more["metadata"]["name"] = name
        more["spec"] |= {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "selector": {"app": name}}
        listed["items"].append(more)

    return edit


def read_twice(base: Snapshot, kind: str, *, before: ApiEdit | None = None, after: ApiEdit | None = None) -> Snapshot:
    """A snapshot whose API was read before and after the dumps, each time with its own state."""
    early = variant_api(base, kind, before) if before else base
    late = variant_api(base, kind, after) if after else base
    return structs.replace(base, api=early.api, api_after=late.api, taken_at=None)


def judged(snapshot: Snapshot, node: str = NODE) -> Comparison:
    found = build_view(snapshot, nodes=(node,))[0].node_by_name[node].comparison
    assert found is not None
    return found


def told(comparison: Comparison) -> set[tuple[str, str, tuple[str, ...]]]:
    return {
        (group.cause.name, str(item.service_port), tuple(str(backend) for backend in item.backends))
        for group in comparison.groups
        for item in group.differences
    }


def unsettled(comparison: Comparison) -> list[str]:
    return [str(port) for item in comparison.unclear if item.unsettled for port in item.service_ports]


THREE = "default/three-eps"


def test_two_readings_that_agree_are_like_one() -> None:
    found = judged(read_twice(cluster(BASE), SLICES))
    assert (found.groups, found.unclear) == ((), ())


@pytest.mark.parametrize(
    ("kind", "edit", "port"),
    [
        (SLICES, with_endpoint("10.244.1.99"), THREE),
        (SLICES, without_endpoint("10.244.1.10"), THREE),
        ("services", without_service("three-eps"), THREE),
        ("services", with_service("newcomer", "10.96.100.200"), "default/newcomer"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_one_reading_says_alone_is_not_settled(kind: str, edit: ApiEdit, port: str, when: str) -> None:
    found = judged(read_twice(cluster(BASE), kind, **{when: edit}))
    assert found.groups == ()
    # The rules are those of the unedited API: where that is the later reading, they have followed.
    assert unsettled(found) == ([port] if when == "after" else [])


@pytest.mark.parametrize(
    ("kind", "edit", "expected"),
    [
        (SLICES, with_endpoint("10.244.1.99"), ("MISSING_ENDPOINT", THREE, ("10.244.1.99:80",))),
        (SLICES, without_endpoint("10.244.1.10"), ("STALE_ENDPOINT", THREE, ("10.244.1.10:80",))),
        ("services", with_service("newcomer", "10.96.100.200"), ("NOT_REFUSED", "default/newcomer", ())),
        (
            "services",
            without_service("three-eps"),
            ("STALE_FRONTEND", THREE, ("10.244.1.10:80", "10.244.1.11:80", "10.244.2.10:80")),
        ),
    ],
)
def test_what_both_readings_say_is_a_fault(
    kind: str, edit: ApiEdit, expected: tuple[str, str, tuple[str, ...]]
) -> None:
    found = judged(read_twice(cluster(BASE), kind, before=edit, after=edit))
    assert told(found) == {expected}
    assert unsettled(found) == []


def test_of_two_new_endpoints_only_the_one_in_both_readings_is_missing() -> None:
    def both(listed: Listed) -> None:
        with_endpoint("10.244.1.98")(listed)
        with_endpoint("10.244.1.99")(listed)

    found = judged(read_twice(cluster(BASE), SLICES, before=with_endpoint("10.244.1.98"), after=both))
    assert told(found) == {("MISSING_ENDPOINT", THREE, ("10.244.1.98:80",))}


def test_of_two_lost_endpoints_only_the_one_in_neither_reading_is_stale() -> None:
    def both(listed: Listed) -> None:
        without_endpoint("10.244.1.10")(listed)
        without_endpoint("10.244.1.11")(listed)

    found = judged(read_twice(cluster(BASE), SLICES, before=without_endpoint("10.244.1.10"), after=both))
    assert told(found) == {("STALE_ENDPOINT", THREE, ("10.244.1.10:80",))}


def test_an_endpoint_that_moved_meanwhile_is_neither() -> None:
    def moved(listed: Listed) -> None:
        without_endpoint("10.244.1.10")(listed)
        with_endpoint("10.244.1.98")(listed)

    found = judged(read_twice(cluster(BASE), SLICES, after=moved))
    assert (found.groups, unsettled(found)) == ((), [THREE])


def test_healthy_nodes_may_have_followed_or_not() -> None:
    def as_later(text: str) -> str:
        """three-eps without 10.244.1.10."""
        lines = text.splitlines(keepends=True)
        kept = [line for line in lines if "default/three-eps -> 10.244.1.10:80" not in line]
        return "".join(kept)

    base = read_twice(cluster(BASE), SLICES, after=without_endpoint("10.244.1.10"))
    followed = variant(base, node=NODE, probe="iptables-save", edit=as_later)
    assert (judged(followed).groups, unsettled(judged(followed))) == ((), [])
    assert (judged(base).groups, unsettled(judged(base))) == ((), [THREE])


def test_movement_elsewhere_hides_no_fault() -> None:
    moving = read_twice(cluster(BASE), SLICES, after=with_endpoint("10.244.1.99"))
    broken = variant(
        moving,
        node=NODE,
        probe="iptables-save",
        edit=lambda text: text.replace("--to-destination 10.244.1.3:80", "--to-destination 10.244.1.3:8081"),
    )
    found = judged(broken)
    assert {name for name, _, _ in told(found)} == {"WRONG_PORT"}
    assert unsettled(found) == [THREE]


def test_a_stale_node_is_stale_in_both_readings() -> None:
    snapshot = fault("a-stale-node")
    kind = "endpointslices-v1beta1"
    found = judged(read_twice(snapshot, kind, after=with_endpoint("10.244.1.99")), "node02")
    assert "STALE_NODE" in {name for name, _, _ in told(found)}


def test_what_is_not_settled_is_said() -> None:
    snapshot = read_twice(cluster(BASE), SLICES, after=with_endpoint("10.244.1.99"))
    report = diagnose(snapshot, Scope(nodes=(NODE,), select=("KD2",)))
    assert report.findings == ()
    gaps: list[Gap] = [gap for gap in report.gaps if gap.subject.startswith("not settled")]
    assert [(gap.node, gap.subject, gap.kind) for gap in gaps] == [(NODE, f"not settled: {THREE}", GapKind.FAILED)]
    assert json.loads(snapshot.api_after[SLICES].content) != json.loads(snapshot.api[SLICES].content)
