"""What changed less than the normal lag before the nodes were read is not settled; one reading counts as settled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from kdiag.model.objects import ObjectKey
from kdiag.model.snapshot import Snapshot
from kdiag.parse.api import parse_cluster
from kdiag.pipeline.settling import followed_until, young_services
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import cluster, fault, variant_api

WRONG_PORT = "s-wrong-port"
LOCAL_CLUSTER = ObjectKey(namespace="default", name="local-cluster")
CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"


def _read_twice(snapshot: Snapshot, seconds_later: float) -> Snapshot:
    """The same API read before and after, so much later than the recording that its changes are that old."""
    assert snapshot.taken_at is not None
    return structs.replace(
        snapshot, api_after=snapshot.api, taken_at=snapshot.taken_at + timedelta(seconds=seconds_later)
    )


def _found(snapshot: Snapshot, settle_s: float) -> tuple[int, list[str]]:
    view, gaps = build_view(snapshot, nodes=("node01",), settle_s=settle_s)
    comparison = view.node_by_name["node01"].comparison
    assert comparison is not None
    return len(comparison.groups), [gap.subject for gap in gaps if gap.subject.startswith("not settled")]


def test_one_reading_counts_as_settled() -> None:
    assert _found(fault(WRONG_PORT), 3600.0) == (1, [])


def test_a_change_older_than_the_lag_is_judged() -> None:
    assert _found(_read_twice(fault(WRONG_PORT), 120.0), 30.0) == (1, [])


def test_a_change_younger_than_the_lag_is_not_settled() -> None:
    assert _found(_read_twice(fault(WRONG_PORT), 0.0), 3600.0) == (0, ["not settled: default/local-cluster"])


def test_what_is_right_needs_no_settling() -> None:
    assert _found(_read_twice(cluster("v1.36.2-iptables-nft"), 0.0), 3600.0) == (0, [])


def test_the_controllers_note_on_a_slice_counts_and_not_the_age_of_the_slice() -> None:
    base = cluster("v1.36.2-iptables-nft")

    def touch(listed: dict[str, Any]) -> None:
        for item in listed["items"]:
            item["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
            item["metadata"].pop("managedFields", None)
            item["metadata"].setdefault("annotations", {})[CHANGED_AT] = "2026-01-01T00:00:00Z"
            if item["metadata"]["labels"].get("kubernetes.io/service-name") == "local-cluster":
                item["metadata"]["annotations"][CHANGED_AT] = "2026-11-23T00:56:00Z"

    def age(listed: dict[str, Any]) -> None:
        for item in listed["items"]:
            item["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
            item["metadata"].pop("managedFields", None)

    aged = variant_api(variant_api(base, "endpointslices-v1", touch), "services", age)
    state, _ = parse_cluster(aged.api)
    assert young_services(state, base.taken_at, 30.0) == {LOCAL_CLUSTER}
    assert young_services(state, base.taken_at, 5.0) == frozenset()
    assert young_services(state, None, 30.0) == frozenset()


def test_a_clock_set_to_the_first_year_is_no_reason_to_stop() -> None:
    """Go prints a time that was never set as 0001-01-01T00:00:00Z."""
    snapshot = cluster("v1.36.2-iptables-nft")
    never = datetime.min.replace(tzinfo=UTC)
    api, gaps = parse_cluster(snapshot.api)
    assert followed_until(never, 30.0) == never
    assert young_services(api, never, 30.0) == {service.key for service in api.services}
    assert not gaps
