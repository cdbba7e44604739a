"""What came and went between two readings of the API leaves a trace in resource versions only.

A Service that was made and deleted meanwhile is in neither list, and a node may have had rules for it when it was read.
So may an endpoint of a Service that both lists show alike. Nothing is to be said of either, until a later reading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from kdiag.model.report import GapKind, Severity
from kdiag.model.snapshot import Recording, Round, Snapshot
from kdiag.parse.api import parse_cluster
from kdiag.pipeline.flow import Scope, diagnose
from kdiag.pipeline.live import unsettled_nodes
from kdiag.pipeline.settling import moved_between, services_may_have_passed
from tests.corpus_fixtures import cluster, fault, variant

MODES = ("v1.36.2-iptables-nft", "v1.36.2-nftables-nft", "v1.36.2-ipvs-nft")
NODE = "node01"
SERVICE = "three-eps"
LISTS = ("services", "endpointslices-v1")
Edit = Callable[[dict[str, Any]], None]


def edited(recording: Recording, *edits: Edit) -> Recording:
    listed = json.loads(recording.content)
    for edit in edits:
        edit(listed)
    return recording.replaced(content=json.dumps(listed).encode())


def without_service(listed: dict[str, Any]) -> None:
    """The lists do not have the Service, nor its slices."""
    before = len(listed["items"])
    listed["items"] = [
        item
        for item in listed["items"]
        if SERVICE
        not in (item["metadata"]["name"], item["metadata"].get("labels", {}).get("kubernetes.io/service-name"))
    ]
    assert len(listed["items"]) == before - 1


def list_version(version: str) -> Edit:
    def edit(listed: dict[str, Any]) -> None:
        listed["metadata"]["resourceVersion"] = version

    return edit


def written(listed: dict[str, Any]) -> None:
    """The slice of the Service was written and is what it was."""
    (item,) = (
        item
        for item in listed["items"]
        if item["metadata"].get("labels", {}).get("kubernetes.io/service-name") == SERVICE
    )
    item["metadata"]["resourceVersion"] += "1"


def base(name: str = MODES[0]) -> Snapshot:
    whole = cluster(name)
    return structs.replace(whole, nodes={NODE: whole.nodes[NODE]}, gaps=())


def read(snapshot: Snapshot, version: str, *edits: Edit) -> dict[str, Recording]:
    return {kind: edited(snapshot.api[kind], list_version(version), *edits) for kind in LISTS}


def never_seen(name: str = MODES[0], *, versions: tuple[str, str] = ("900", "950")) -> Snapshot:
    """No reading has the Service, and the node has rules for it."""
    snapshot = base(name)
    first, second = (read(snapshot, version, without_service) for version in versions)
    return structs.replace(snapshot, api={**snapshot.api, **first}, api_after=second)


def read_again(snapshot: Snapshot, *, still_there: bool, version: str = "990") -> Snapshot:
    """The same, read again a minute later: with the rules, or as a proxy that keeps up has them by then."""
    assert snapshot.taken_at is not None
    probes = dict(snapshot.nodes[NODE])
    if not still_there:
        for probe, recording in probes.items():
            lines = recording.text().split("\n")
            kept = [line for line in lines if f"default/{SERVICE}" not in line]
            probes[probe] = recording.replaced(content="\n".join(kept).encode())
    later = Round(
        taken_at=snapshot.taken_at + timedelta(seconds=60),
        nodes={NODE: probes},
        api_after=read(base(), version, without_service),
    )
    return structs.replace(snapshot, again=(later,))


def codes(snapshot: Snapshot) -> list[str]:
    report = diagnose(snapshot, Scope(select=("KD2",)))
    return [item.code for item in report.findings if item.severity is not Severity.INFO]


@pytest.mark.parametrize("name", MODES)
def test_a_service_made_and_deleted_between_the_readings_is_no_finding(name: str) -> None:
    snapshot = never_seen(name)
    report = diagnose(snapshot, Scope(select=("KD2",)))
    assert [item for item in report.findings if item.severity is not Severity.INFO] == []
    (gap,) = (item for item in report.gaps if item.subject == "not settled")
    assert (gap.node, gap.kind) == (NODE, GapKind.FAILED)
    assert "that no Service had before or after the node was read" in gap.reason
    assert unsettled_nodes(snapshot, 30.0) == (NODE,)


@pytest.mark.parametrize("name", MODES)
def test_where_nothing_was_written_between_the_readings_it_is_told_at_once(name: str) -> None:
    assert codes(never_seen(name, versions=("900", "900"))) == ["KD202"]


def test_rules_that_a_later_reading_meets_again_are_told() -> None:
    snapshot = read_again(never_seen(), still_there=True)
    assert codes(snapshot) == ["KD202"]
    assert unsettled_nodes(snapshot, 30.0) == ()


def test_rules_that_a_later_reading_does_not_meet_are_forgotten() -> None:
    snapshot = read_again(never_seen(), still_there=False)
    report = diagnose(snapshot, Scope(select=("KD2",)))
    assert report.findings == ()
    assert [gap for gap in report.gaps if gap.subject.startswith("not settled")] == []
    assert unsettled_nodes(snapshot, 30.0) == ()


def test_a_list_without_a_version_may_hide_anything() -> None:
    snapshot = never_seen(versions=("", ""))
    assert codes(snapshot) == []
    assert codes(read_again(snapshot, still_there=True)) == ["KD202"]


def lagging(*, version_moves: bool) -> Snapshot:
    """A rule sends to an endpoint that neither reading has; the objects have no times of change."""
    snapshot = base()
    after = {
        kind: edited(snapshot.api[kind], *((written,) if version_moves and kind == LISTS[1] else ())) for kind in LISTS
    }
    stale = variant(
        snapshot,
        node=NODE,
        probe="iptables-save",
        edit=lambda text: re.sub(rf"(default/{SERVICE}.*--to-destination) 10.244.1.10:80", r"\1 10.244.1.99:80", text),
    )
    return structs.replace(stale, api_after=after, taken_at=None)


def test_an_endpoint_that_came_and_went_is_no_finding() -> None:
    snapshot = lagging(version_moves=True)
    assert codes(snapshot) == []
    assert unsettled_nodes(snapshot, 30.0) == (NODE,)


def test_an_endpoint_of_a_service_that_was_not_written_is_stale() -> None:
    assert codes(lagging(version_moves=False)) == ["KD204"]


def test_what_the_versions_tell() -> None:
    snapshot = base()
    before, _ = parse_cluster(snapshot.api)
    same, _ = parse_cluster(snapshot.api)
    after, _ = parse_cluster({**snapshot.api, LISTS[1]: edited(snapshot.api[LISTS[1]], written)})
    assert moved_between(before, before) == moved_between(before, same) == frozenset()
    assert {str(key) for key in moved_between(before, after)} == {f"default/{SERVICE}"}
    assert not services_may_have_passed(before, before)
    assert not services_may_have_passed(before, same)
    moved, _ = parse_cluster({**snapshot.api, "services": edited(snapshot.api["services"], list_version("9999"))})
    assert services_may_have_passed(before, moved)


def test_endpoints_objects_tell_where_there_are_no_slices() -> None:
    snapshot = fault("a-stale-node")
    api = {kind: item for kind, item in snapshot.api.items() if not kind.startswith("endpointslices")}

    def touched(listed: dict[str, Any]) -> None:
        (item,) = (item for item in listed["items"] if item["metadata"]["name"] == SERVICE)
        item["metadata"]["resourceVersion"] += "1"

    before, _ = parse_cluster(api)
    after, _ = parse_cluster({**api, "endpoints": edited(api["endpoints"], touched)})
    assert {str(key) for key in moved_between(before, after)} == {f"default/{SERVICE}"}


def test_a_chain_that_only_new_node_ports_need_is_not_flushed() -> None:
    """The first NodePort of a cluster came after the nodes were read."""

    def without_node_ports(listed: dict[str, Any]) -> None:
        listed["items"] = [item for item in listed["items"] if item["spec"]["type"] == "ClusterIP"]

    snapshot = base()
    early = {"services": edited(snapshot.api["services"], without_node_ports)}
    empty = variant(
        snapshot,
        node=NODE,
        probe="iptables-save",
        edit=lambda text: "".join(
            line for line in text.splitlines(keepends=True) if not line.startswith("-A KUBE-NODEPORTS")
        ),
    )
    assert "KD212" in codes(empty)
    moving = structs.replace(empty, api={**snapshot.api, **early}, api_after={"services": snapshot.api["services"]})
    assert codes(structs.replace(moving, taken_at=None)) == []
