"""Endpoints that are read when somebody asks for them are those that are read at once."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from kdiag.model.endpoints import LazyEndpoints
from kdiag.model.objects import ObjectKey
from kdiag.model.snapshot import Recording
from kdiag.model.trace import ServiceTarget, TraceTarget
from kdiag.parse import api_slices
from kdiag.parse.api import parse_cluster
from kdiag.pipeline.flow import Scope, trace
from kdiag.pipeline.trust import endpoints_are_sound
from tests.corpus_fixtures import cluster

CLUSTERS = ("v1.20.2-iptables-nft", "v1.36.2-iptables-nft", "dual-v1.36.2-iptables-nft", "v1.36.2-nftables-nft")


def a_line_each(api: Mapping[str, Recording]) -> dict[str, Recording]:
    """The same lists as the API server's answers are kept: one object a line."""
    found = dict(api)
    for kind, recording in api.items():
        if kind.startswith("endpointslices"):
            tree = json.loads(recording.content)
            if "items" not in tree:
                continue
            head = json.dumps({key: value for key, value in tree.items() if key != "items"}, separators=(",", ":"))
            items = ",\n".join(json.dumps(item, separators=(",", ":")) for item in tree["items"])
            content = f'{head[:-1]},"items":[\n{items}\n]}}\n'.encode()
            found[kind] = recording.replaced(content=content)
    return found


@pytest.mark.parametrize("name", CLUSTERS)
def test_asked_for_they_are_the_same(name: str) -> None:
    api = a_line_each(cluster(name).api)
    whole, gaps = parse_cluster(api)
    few, few_gaps = parse_cluster(api, few_endpoints=True)
    assert few_gaps == gaps
    assert all(isinstance(item.endpoints, LazyEndpoints) for item in few.slices if item.family is not None)
    for mine, other in zip(few.slices, whole.slices, strict=True):
        assert mine.ready == other.ready
        assert {family: list(numbers) for family, numbers in mine.numbers().items()} == {
            family: list(numbers) for family, numbers in other.numbers().items()
        }
        assert len(mine.endpoints) == len(other.endpoints)
        assert list(mine.endpoints) == list(other.endpoints)
    assert few.services == whole.services


def test_a_trace_looks_at_few(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = cluster("v1.36.2-iptables-nft")
    target = TraceTarget(text="svc/web", place=ServiceTarget(service=ObjectKey(namespace="default", name="web")))
    one_by_one = trace(snapshot, target, Scope())
    asked: list[object] = []
    items = api_slices._EncodedSlice.items

    def counted(source: api_slices._EncodedSlice) -> object:
        asked.append(source)
        return items(source)

    monkeypatch.setattr(api_slices._EncodedSlice, "items", counted)
    lines = a_line_each(snapshot.api)
    found = trace(replace(snapshot, api=lines, api_after=a_line_each(snapshot.api_after)), target, Scope())
    assert found == one_by_one
    slices = json.loads(lines["endpointslices-v1"].content)["items"]
    assert 0 < len(asked) < len(slices)


ODD = {"web-p2p6j": True, "web-admin-hq4j7": True, "kubernetes": False, "kube-dns-p4v7w": False}
"""Slices, and whether they may be of the Service `web`, as far as their names tell."""


@pytest.mark.parametrize("name", ODD)
def test_a_trace_with_odd_endpoints_is_as_if_all_were_read(name: str) -> None:
    snapshot = cluster("v1.36.2-iptables-nft")
    web = ObjectKey(namespace="default", name="web")
    target = TraceTarget(text="svc/web", place=ServiceTarget(service=web), node="node01")
    tree = json.loads(snapshot.api["endpointslices-v1"].content)
    odd = next(item for item in tree["items"] if item["metadata"]["name"] == name)
    odd["endpoints"] = [{"addresses": 5}]
    content = json.dumps(tree).encode()
    api = {**snapshot.api, "endpointslices-v1": snapshot.api["endpointslices-v1"].replaced(content=content)}
    whole = trace(replace(snapshot, api=api, api_after={}), target, Scope())
    sound = trace(replace(snapshot, api_after={}), target, Scope())
    assert (whole.verdicts != sound.verdicts) == ODD[name]
    assert trace(replace(snapshot, api=a_line_each(api), api_after={}), target, Scope()) == whole
    few, gaps = parse_cluster(a_line_each(api), few_endpoints=True)
    assert not gaps
    assert endpoints_are_sound(few, {web}) != ODD[name]
    assert not endpoints_are_sound(few, None)
    assert [list(item.endpoints) for item in few.slices if item.meta.key.name == name] == [[]]
