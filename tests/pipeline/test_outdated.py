"""Service ports that are out of date are told without walking them: the report is the one that walking each of them gives."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from msgspec.structs import replace

from kdiag.compare.telling import TellingRules
from kdiag.model.snapshot import Snapshot
from kdiag.pipeline.flow import Scope, diagnose
from kdiag.pipeline.offers import SortedOffers
from tests.corpus_fixtures import cluster
from tests.pipeline.uncut import CLUSTERS, NODE, one_by_one, uncut


def slices_of(snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    """The probe with the EndpointSlices, and what is in it."""
    for name in ("endpointslices-v1", "endpointslices-v1beta1"):
        found = json.loads(snapshot.api[name].content)
        if found.get("items"):
            return name, found
    raise AssertionError


def with_slices(snapshot: Snapshot, slices: dict[str, Any], *, later: bool = False) -> Snapshot:
    """The API as if these were its slices; `later`: only when the nodes had been read."""
    name, _ = slices_of(snapshot)
    changed = snapshot.api[name].replaced(content=json.dumps(slices).encode())
    if later:
        return replace(snapshot, api_after={**snapshot.api, name: changed})
    return replace(snapshot, api={**snapshot.api, name: changed})


def changed(slices: dict[str, Any], chance: random.Random) -> None:
    """Some slices have other endpoints: new ones, others', the node's own, fewer, or at another port."""
    usable = [item for item in slices["items"] if item["endpoints"] and item["addressType"] != "FQDN"]
    for item in chance.sample(usable, chance.randint(1, 4)):
        endpoints = item["endpoints"]
        other = chance.choice(usable)
        if other["addressType"] != item["addressType"]:
            other = item
        six = item["addressType"] == "IPv6"
        number = chance.randrange(2, 250)
        new = chance.choice(
            [f"fd00:10:244:{chance.randrange(4)}::{number:x}", f"fd00:99::{number:x}"]
            if six
            else [f"10.244.{chance.randrange(4)}.{number}", "192.168.56.11", f"203.0.113.{number}"]
        )
        match chance.randrange(5):
            case 0 if len(endpoints) > 1:
                del endpoints[chance.randrange(len(endpoints))]
            case 1:
                endpoints.append({**chance.choice(endpoints), "addresses": [new]})
            case 2:
                chance.choice(endpoints)["addresses"] = list(chance.choice(other["endpoints"])["addresses"])
            case 3 if item["ports"]:
                chance.choice(item["ports"])["port"] = number
            case _:
                chance.choice(endpoints)["addresses"] = [new]
        # Who edits a recording by hand may leave it.
        item["metadata"]["resourceVersion"] += chance.choice(["1", ""])


@pytest.mark.parametrize("seed", range(40))
def test_endpoints_that_changed(seed: int, cutting: list[SortedOffers]) -> None:
    chance = random.Random(seed)
    snapshot = cluster(CLUSTERS[seed % len(CLUSTERS)])
    _, slices = slices_of(snapshot)
    changed(slices, chance)
    snapshot = with_slices(snapshot, slices, later=seed % 5 == 4)
    assert diagnose(snapshot, Scope()) == one_by_one(snapshot)
    assert cutting


def out_of_date(snapshot: Snapshot) -> Snapshot:
    """Three Services of one kind have one endpoint that their rules do not have."""
    _, slices = slices_of(snapshot)
    services = ("three-eps", "lb-open", "lb-pending")
    mine = [item for item in slices["items"] if item["metadata"]["name"].rpartition("-")[0] in services]
    for item in mine:
        item["endpoints"][0]["addresses"] = ["10.244.2.99"]
    assert len(mine) == len(services)
    return with_slices(snapshot, slices)


def with_rules(snapshot: Snapshot, old: str, new: str) -> Snapshot:
    """Only one node, with some text of its rules replaced by another."""
    probes = dict(snapshot.nodes[NODE])
    recording = probes["iptables-save"]
    text = recording.content.decode()
    assert re.search(old, text)
    probes["iptables-save"] = recording.replaced(content=re.sub(old, new, text).encode())
    return replace(snapshot, nodes={NODE: probes})


def told(snapshot: Snapshot, cutting: list[SortedOffers]) -> set[str]:
    """The Services that were told without a walk in the end, if the report is as it ought to be."""
    report = diagnose(snapshot, Scope(nodes=(NODE,)))
    assert report == one_by_one(snapshot, NODE)
    assert "10.244.2.99" in str(report.findings)
    return {item.offer.item.service_port.service.name for offers in cutting for item in offers.out_of_date()}


def test_what_is_out_of_date_is_not_walked(cutting: list[SortedOffers]) -> None:
    snapshot = out_of_date(cluster("v1.36.2-iptables-nft"))
    assert told(snapshot, cutting) == {"three-eps", "lb-open", "lb-pending"}


def test_it_is_walked_where_its_way_is_shown(cutting: list[SortedOffers]) -> None:
    snapshot, scope = out_of_date(cluster("v1.36.2-iptables-nft")), Scope(nodes=(NODE,), with_overview=True)
    report = diagnose(snapshot, scope)
    assert cutting
    with uncut():
        assert report == diagnose(snapshot, scope)
    assert report.overview is not None
    assert [item.service for item in report.overview.traces] == [
        "default/lb-open",
        "default/lb-pending",
        "default/three-eps",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"-A KUBE-MARK-MASQ -j MARK .*", "-A KUBE-MARK-MASQ -j RETURN"),
        (r"-A FORWARD (?=.*KUBE-FORWARD)", "-A FORWARD -d 10.244.2.0/24 -j DROP\n-A FORWARD "),
    ],
    ids=["unmarked", "dropped"],
)
def test_it_is_walked_where_its_kind_is_not_right(old: str, new: str, cutting: list[SortedOffers]) -> None:
    assert not told(with_rules(out_of_date(cluster("v1.36.2-iptables-nft")), old, new), cutting)


def test_it_is_walked_where_somebody_else_decides(cutting: list[SortedOffers], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TellingRules, "are_decided", lambda *_: True)
    assert not told(out_of_date(cluster("v1.36.2-iptables-nft")), cutting)


def test_it_is_walked_where_its_rules_cannot_be_read(
    cutting: list[SortedOffers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdiag.pipeline.outdated.rules_at", lambda *_: iter(()))
    assert not told(out_of_date(cluster("v1.36.2-iptables-nft")), cutting)


def test_an_address_that_went_while_the_node_was_read(cutting: list[SortedOffers]) -> None:
    snapshot = cluster("v1.36.2-iptables-nft")
    services = json.loads(snapshot.api["services"].content)
    (mine,) = [item for item in services["items"] if item["metadata"]["name"] == "lb-open"]
    assert mine["status"]["loadBalancer"].pop("ingress")
    later = snapshot.api["services"].replaced(content=json.dumps(services).encode())
    snapshot = replace(snapshot, api_after={**snapshot.api, "services": later})
    report = diagnose(snapshot, Scope())
    assert report == one_by_one(snapshot)
    assert not [finding for finding in report.findings if finding.code.startswith("KD2")]


def test_a_service_that_came_while_the_node_was_read(cutting: list[SortedOffers]) -> None:
    """The rules may be those of a moment at which it had other endpoints."""
    snapshot, scope = out_of_date(cluster("v1.36.2-iptables-nft")), Scope(settle_s=0.0)
    services = json.loads(snapshot.api["services"].content)
    services["items"] = [item for item in services["items"] if item["metadata"]["name"] != "three-eps"]
    earlier = snapshot.api["services"].replaced(content=json.dumps(services).encode())
    snapshot = replace(snapshot, api={**snapshot.api, "services": earlier}, api_after=snapshot.api)
    report = diagnose(snapshot, scope)
    with uncut():
        assert report == diagnose(snapshot, scope)
    (message,) = {finding.message for finding in report.findings if finding.code == "KD223" and finding.node == NODE}
    assert "lb-open" in message
    assert "three-eps" not in message
