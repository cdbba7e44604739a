"""Userspace mode: packets reach the proxy process, or they do not."""

from __future__ import annotations

import re

import pytest
from msgspec import structs

from kdiag.model.dataplane import Disposition
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import cluster, variant
from tests.test_corpus_modes import faults_in
from tests.test_corpus_rules import Edit, services_of, without

NAME = "v1.20.2-userspace-nft"
VIP = "-d 10.101.67.139/32"


def found(edit: Edit, probe: str = "iptables-save") -> list[tuple[str, str | None, set[str]]]:
    edited = variant(cluster(NAME), node="node01", probe=probe, edit=edit)
    return [(item.code, item.node, services_of(item)) for item in faults_in(edited, "node01")]


LOCAL_CLUSTER = {"default/local-cluster"}


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda text: re.sub(rf"-A KUBE-PORTALS-CONTAINER {VIP}.*\n", "", text), "KD201"),
        (lambda text: re.sub(rf"-A KUBE-PORTALS-HOST {VIP}.*\n", "", text), "KD201"),
        # The port of the proxy process has no listener: the kernel refuses.
        (lambda text: re.sub(rf"(-A KUBE-PORTALS-HOST {VIP}.*:)\d+", r"\g<1>1", text), "KD207"),
        (lambda text: re.sub(rf"(-A KUBE-PORTALS-CONTAINER {VIP}.*--to-ports )\d+", r"\g<1>1", text), "KD207"),
        # It leads to another host.
        (
            lambda text: re.sub(rf"(-A KUBE-PORTALS-HOST {VIP}.*--to-destination )\S+:", r"\g<1>10.0.0.9:", text),
            "KD204",
        ),
    ],
)
def test_a_portal_that_is_wrong(edit: Edit, code: str) -> None:
    assert found(edit) == [(code, "node01", LOCAL_CLUSTER)]


def test_a_portal_of_a_service_that_is_gone() -> None:
    line = (
        '-A KUBE-PORTALS-CONTAINER -d 10.96.200.1/32 -p tcp -m comment --comment "default/gone" -m tcp --dport 80 '
        "-j REDIRECT --to-ports 34633\n"
    )
    (only,) = found(lambda text: text.replace("-A KUBE-PORTALS-CONTAINER", line + "-A KUBE-PORTALS-CONTAINER", 1))
    assert only == ("KD202", "node01", {"default/gone"})


def test_sockets_that_were_not_recorded_are_not_missed() -> None:
    probes = {name: item for name, item in cluster(NAME).nodes["node01"].items() if not name.startswith("ss-")}

    bare = structs.replace(cluster(NAME), nodes={**cluster(NAME).nodes, "node01": probes})
    assert faults_in(bare, "node01") == []


def test_every_portal_emptied() -> None:
    (only,) = found(without("-A KUBE-PORTALS-", "-A KUBE-NODEPORT-"))
    assert only[:2] == ("KD211", "node01")
    assert len(only[2]) > 30


def test_which_endpoint_is_chosen_nothing_tells() -> None:
    node = build_view(cluster(NAME), nodes=("node01",))[0].node_by_name["node01"]
    assert node.actual is not None
    seen = {
        (fate.disposition, fate.backend)
        for behaviour in node.actual.behaviours.values()
        for case in behaviour.cases
        for outcome in case.outcomes
        for fate, _ in outcome.shares
    }
    assert seen == {(Disposition.BACKEND, None), (Disposition.UNTRANSLATED, None)}
