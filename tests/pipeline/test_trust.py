"""An API that was not read in full never makes a finding of what is right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kdiag.model.objects import ObjectKey
from kdiag.model.proxy import Version
from kdiag.model.report import Gap
from kdiag.model.snapshot import Snapshot
from kdiag.model.view import View
from kdiag.parse.api import parse_cluster
from kdiag.pipeline.trust import trust_in
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import cluster, variant_api

BASE = "v1.36.2-iptables-nft"


def _one(snapshot: Snapshot) -> tuple[View, tuple[Gap, ...]]:
    return build_view(snapshot, nodes=("node01",))


def _groups(view: View) -> int:
    comparison = view.node_by_name["node01"].comparison
    return len(comparison.groups) if comparison is not None else 0


def _item(listed: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in listed["items"] if item["metadata"]["name"].startswith(name))
    return found


def test_a_service_that_cannot_be_decoded_leaves_no_stale_rules_behind() -> None:
    def spoil(listed: dict[str, Any]) -> None:
        _item(listed, "three-eps")["spec"]["ports"] = "odd"

    view, gaps = _one(variant_api(cluster(BASE), "services", spoil))
    assert _groups(view) == 0
    assert any("default/three-eps" in gap.subject for gap in gaps)


def test_a_service_that_lost_its_name_makes_no_address_stale() -> None:
    def spoil(listed: dict[str, Any]) -> None:
        listed["items"][listed["items"].index(_item(listed, "three-eps"))] = "odd"

    view, gaps = _one(variant_api(cluster(BASE), "services", spoil))
    assert _groups(view) == 0
    assert any("services item" in gap.subject for gap in gaps)


def test_a_slice_that_cannot_be_decoded_makes_its_service_doubtful() -> None:
    def spoil(listed: dict[str, Any]) -> None:
        _item(listed, "three-eps-")["endpoints"] = {"odd": 1}

    snapshot = variant_api(cluster(BASE), "endpointslices-v1", spoil)
    state, _ = parse_cluster(snapshot.api)
    assert ObjectKey(namespace="default", name="three-eps") in trust_in(state, version=(1, 36)).doubtful
    view, _ = _one(snapshot)
    assert _groups(view) == 0


def test_a_slice_without_a_name_stops_the_judgement_of_rules() -> None:
    def spoil(listed: dict[str, Any]) -> None:
        listed["items"][0] = 7

    view, gaps = _one(variant_api(cluster(BASE), "endpointslices-v1", spoil))
    assert view.node_by_name["node01"].comparison is None
    assert any(gap.node == "node01" and "EndpointSlice" in gap.reason for gap in gaps)


@pytest.mark.parametrize("kind", ["services", "endpointslices-v1"])
def test_a_list_that_goes_on_stops_the_judgement(kind: str) -> None:
    def cut(listed: dict[str, Any]) -> None:
        listed["metadata"]["continue"] = "more"
        listed["items"] = listed["items"][:3]

    snapshot = variant_api(cluster(BASE), kind, cut)
    view, gaps = _one(snapshot)
    assert view.node_by_name["node01"].comparison is None
    assert any("the server had more" in gap.reason for gap in gaps)


@pytest.mark.parametrize(("version", "refused"), [((1, 18), False), ((1, 19), True), ((1, 36), True), (None, True)])
def test_endpoints_are_enough_only_for_proxies_that_read_them(version: Version | None, refused: bool) -> None:
    old = cluster("v1.20.2-iptables-nft")
    state, _ = parse_cluster({name: item for name, item in old.api.items() if not name.startswith("endpointslices")})
    assert (trust_in(state, version=version).refusal is not None) is refused


def test_a_whole_reading_is_trusted() -> None:
    state, _ = parse_cluster(cluster(BASE).api)
    trust = trust_in(state, state, version=(1, 36))
    assert trust.refusal is None
    assert not trust.doubtful
    assert trust.knows_all_services
    assert json.loads(cluster(BASE).api["services"].content)["kind"] == "ServiceList"
