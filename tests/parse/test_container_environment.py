"""The few environment variables of containers that are kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kdiag.model.snapshot import Recording
from kdiag.parse.api import parse_cluster


def environment(container: dict[str, Any]) -> tuple[dict[str, str], int]:
    """What is kept of a container's environment, and the number of gaps."""
    pod = {"metadata": {"name": "calico-node-x", "namespace": "kube-system"}, "spec": {"containers": [container]}}
    listed = json.dumps({"kind": "PodList", "items": [pod]}).encode()
    state, gaps = parse_cluster({"pods": Recording(source="cluster/pods.json", content=listed)})
    return (dict(state.pods[0].containers[0].environment) if state.pods else {}), len(gaps)


@pytest.mark.parametrize(
    ("variables", "kept"),
    [
        (None, {}),
        ([], {}),
        ([{"name": "OTHER", "value": "x"}], {}),
        ([{"name": "FELIX_BPFENABLED", "value": "true"}, {"name": "OTHER", "value": "x"}], {"FELIX_BPFENABLED": "true"}),
        ([{"name": "FELIX_BPFENABLED"}], {}),
        ([{"name": "FELIX_BPFENABLED", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}], {}),
        ([{"name": "OTHER", "value": "FELIX_BPFENABLED"}], {}),
    ],
)  # fmt: skip
def test_what_is_kept(variables: list[dict[str, Any]] | None, kept: dict[str, str]) -> None:
    baseline = environment({"name": "calico-node"})[1]
    assert environment({"name": "calico-node", "env": variables}) == (kept, baseline)


def test_what_cannot_be_read_is_a_gap_and_not_an_error() -> None:
    baseline = environment({"name": "calico-node"})[1]
    assert environment({"name": "calico-node", "env": "FELIX_BPFENABLED"}) == ({}, baseline + 1)
