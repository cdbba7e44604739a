"""An object that two readings of the API have alike is made once; what both readings say is the same as if each were read alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from kdiag.model.snapshot import Recording
from kdiag.parse import api as parsing
from kdiag.parse.api import Known, parse_cluster

Items = dict[str, list[dict[str, Any]]]
KINDS = {"services": "ServiceList", "endpointslices-v1": "EndpointSliceList", "nodes": "NodeList", "pods": "PodList"}


@pytest.fixture(autouse=True)
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "_LARGE_BYTES", 0)


def on_lines(items: Mapping[str, list[dict[str, Any]]]) -> dict[str, Recording]:
    found = {}
    for kind, listed in items.items():
        lines = ",\n".join(json.dumps(item, separators=(",", ":")) for item in listed)
        content = f'{{"kind":"{KINDS[kind]}","items":[\n{lines}\n]}}\n'.encode()
        found[kind] = Recording(source=f"cluster/{kind}.json", content=content)
    return found


def items() -> Items:
    names = [f"web-{number}" for number in range(6)]
    metas = [{"name": name, "namespace": "default", "resourceVersion": "1"} for name in names]
    return {
        "services": [
            {"metadata": meta, "spec": {"clusterIP": f"10.96.0.{number}"}} for number, meta in enumerate(metas)
        ],
        "endpointslices-v1": [
            {"metadata": meta, "addressType": "IPv4", "endpoints": [{"addresses": [f"10.0.0.{number}"]}]}
            for number, meta in enumerate(metas)
        ],
        "nodes": [{"metadata": {"name": name}} for name in names],
        "pods": [{"metadata": meta, "spec": {}} for meta in metas],
    }


@pytest.mark.parametrize("few_endpoints", [False, True])
def test_what_did_not_change_is_the_same_object(few_endpoints: bool) -> None:
    before, after = items(), items()
    after["services"][2]["spec"]["clusterIP"] = "10.96.0.99"
    after["endpointslices-v1"][4]["endpoints"] = [{"addresses": ["10.0.0.44"], "conditions": {"ready": False}}]
    after["nodes"].insert(1, {"metadata": {"name": "new"}})
    del after["pods"][3]
    known: Known = {}
    later, gaps = parse_cluster(on_lines(after), few_endpoints=few_endpoints, known=known)
    earlier, others = parse_cluster(on_lines(before), few_endpoints=few_endpoints, known=known)
    assert gaps == others == ()
    assert later == parse_cluster(on_lines(after))[0]
    assert earlier == parse_cluster(on_lines(before))[0]
    same = [
        sum(any(mine is other for other in getattr(earlier, kind)) for mine in getattr(later, kind))
        for kind in ("services", "slices", "nodes", "pods")
    ]
    assert same == [5, 5, 6, 5]


def test_what_is_odd_is_told_of_both() -> None:
    odd = items()
    odd["endpointslices-v1"][1]["endpoints"] = [{"addresses": ["10.0.0.300"]}]
    odd["services"][1]["spec"]["externalIPs"] = ["nonsense"]
    odd["nodes"][1]["status"] = 5
    known: Known = {}
    told = [parse_cluster(on_lines(odd), known=known)[1] for _ in range(2)]
    assert told[0] == told[1] == parse_cluster(on_lines(odd))[1]
    assert {gap.subject for gap in told[0]} == {
        "endpointslices-v1 default/web-1",
        "services default/web-1",
        "nodes web-1",
    }


def test_an_object_of_another_list_is_another() -> None:
    alike = items()
    alike["nodes"] = alike["pods"]
    known: Known = {}
    parse_cluster(on_lines(alike), known=known)
    assert parse_cluster(on_lines(alike), known=known) == parse_cluster(on_lines(alike))
