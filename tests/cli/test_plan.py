"""`kdiag preflight -f`, and ranges without a cluster."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kdiag.gather.snapshot_writer import write_snapshot
from tests.cli.conftest import Kdiag
from tests.corpus_fixtures import variant_api
from tests.examples.edits import api, appending, probe

WORKLOAD = """
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: planned}
spec:
  template:
    metadata: {labels: {app: planned}}
    spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
"""
GOOD = "selector: {app: planned}, ports: [{port: 80, targetPort: http}]"


def manifest(tmp_path: Path, spec: str, more: str = WORKLOAD, name: str = "planned") -> str:
    path = tmp_path / "manifests" / "deep" / "service.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n{more}")
    return str(tmp_path / "manifests")


def judged(kdiag: Kdiag, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    outcome = kdiag("preflight", *arguments, "-o", "json")
    assert outcome.err == ""
    return outcome.code, json.loads(outcome.out)["findings"]


def test_a_good_plan_has_no_findings(kdiag: Kdiag, tmp_path: Path, healthy: Path) -> None:
    for spec in (GOOD, f"type: NodePort, externalTrafficPolicy: Local, {GOOD}"):
        assert judged(kdiag, "-f", manifest(tmp_path, spec), "--snapshot", str(healthy)) == (0, [])


@pytest.mark.parametrize(
    ("spec", "codes", "code"),
    [
        (f"clusterIP: 10.1.2.3, {GOOD}", ["KD102"], 1),
        (f"clusterIP: 10.96.0.10, {GOOD}", ["KD111"], 1),
        ("type: NodePort, selector: {app: planned}, ports: [{port: 80, nodePort: 1234}]", ["KD112"], 1),
        ("selector: {app: nobody}, ports: [{port: 80}]", ["KD301"], 0),
        ("selector: {app: planned}, ports: [{port: 80, targetPort: htpp}]", ["KD303"], 1),
        ("ports: [{port: 80}]", ["KD302"], 0),
        (f"internalTrafficPolicy: local, {GOOD}", ["KD320"], 1),
    ],
)
def test_what_is_wrong_with_a_plan(
    kdiag: Kdiag, tmp_path: Path, healthy: Path, spec: str, codes: list[str], code: int
) -> None:
    path = manifest(tmp_path, spec)
    found_code, findings = judged(kdiag, "-f", path, "--snapshot", str(healthy))
    assert [item["code"] for item in findings] == codes
    assert found_code == code
    assert findings[0]["evidence"][0] == {
        "source": f"{path}/deep/service.yaml",
        "line": 1,
        "text": "Service default/planned",
    }


COREFILE = ".:53 {\n    errors\n    forward . 203.0.113.53 tls://203.0.113.54:853\n}\n"


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster whose node01 has a listener among the node ports, whose CoreDNS asks resolvers elsewhere, whose API server has
    an address beside its node's, and whose kubelet on node02 names a resolver of its own."""

    def corefile(listed: dict[str, Any]) -> None:
        meta = {"name": "coredns", "namespace": "kube-system"}
        listed["items"].append({"metadata": meta, "data": {"Corefile": COREFILE}})

    def another_server(item: dict[str, Any]) -> None:
        item["endpoints"].append({"addresses": ["198.51.100.6"], "conditions": {"ready": True}})

    listener = 'tcp LISTEN 0      511      0.0.0.0:31900 0.0.0.0:* users:(("nginx",pid=812,fd=6))'
    kubelet = "root  160  1  1 00:56 ?  00:00:02 /usr/bin/kubelet --cluster-dns=203.0.113.99"
    made = probe("node01", "ss-ltnH", appending(listener))
    made = probe("node02", "ps-ef", appending(kubelet), base=made)
    made = variant_api(made, "kube-system-configmaps", corefile)
    made = api("endpointslices-v1", "default/kubernetes", another_server, base=made)
    path = tmp_path_factory.mktemp("bent") / "snapshot.tar.gz"
    write_snapshot(made, path)
    return path


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        ("type: NodePort, selector: {app: planned}, ports: [{port: 80, nodePort: 31900}]", "KD408", "nginx"),
        # Another Service has it; no program needs to be looked for.
        ("type: NodePort, selector: {app: planned}, ports: [{port: 80, nodePort: 31595}]", "KD111", "nodeport-wide"),
        (f"externalIPs: [192.168.56.12], {GOOD.replace('port: 80', 'port: 10250')}", "KD111", "node node02"),
        (
            f"externalIPs: [203.0.113.53], {GOOD.replace('port: 80', 'port: 53')}",
            "KD111",
            "a resolver that CoreDNS asks",
        ),
        (
            f"externalIPs: [203.0.113.54], {GOOD.replace('port: 80', 'port: 853')}",
            "KD111",
            "a resolver that CoreDNS asks",
        ),
        (f"externalIPs: [203.0.113.99], {GOOD.replace('port: 80', 'port: 53')}", "KD111", "the resolver of pods"),
        (f"externalIPs: [198.51.100.6], {GOOD.replace('port: 80', 'port: 6443')}", "KD111", "an API server"),
        (f"externalIPs: [192.168.56.10], {GOOD.replace('port: 80', 'port: 6443')}", "KD111", "node controlplane"),
    ],
)
def test_what_a_plan_would_take_away(kdiag: Kdiag, tmp_path: Path, bent: Path, spec: str, code: str, says: str) -> None:
    found_code, findings = judged(kdiag, "-f", manifest(tmp_path, spec), "--snapshot", str(bent))
    assert [item["code"] for item in findings] == [code]
    assert says in findings[0]["message"], findings[0]["message"]
    assert findings[0]["service"] == "default/planned" or findings[0]["affected"]
    assert (found_code, findings[0]["severity"]) in ((1, "error"), (0, "warning"))


@pytest.mark.parametrize(
    "spec",
    [
        # The listener's neighbour, the resolver's other ports, and an address that nobody has.
        "type: NodePort, selector: {app: planned}, ports: [{port: 80, nodePort: 31901}]",
        f"externalIPs: [203.0.113.53], {GOOD}",
        f"externalIPs: [198.51.100.6], {GOOD}",
        f"externalIPs: [203.0.113.98], {GOOD.replace('port: 80', 'port: 53')}",
    ],
)
def test_what_a_plan_leaves_alone(kdiag: Kdiag, tmp_path: Path, bent: Path, spec: str) -> None:
    assert judged(kdiag, "-f", manifest(tmp_path, spec), "--snapshot", str(bent)) == (0, [])


def test_what_is_wrong_already_is_not_told(kdiag: Kdiag, tmp_path: Path, faulty: Path) -> None:
    assert judged(kdiag, "-f", manifest(tmp_path, GOOD), "--snapshot", str(faulty))[1] == []


def test_a_service_that_is_there_keeps_its_address(kdiag: Kdiag, tmp_path: Path, healthy: Path) -> None:
    spec = "clusterIP: 10.96.99.99, ports: [{port: 443, name: https}]"
    _, findings = judged(kdiag, "-f", manifest(tmp_path, spec, name="kubernetes"), "--snapshot", str(healthy))
    assert [item["code"] for item in findings] == ["KD320"]
    assert "cannot be changed" in findings[0]["message"]
    kept = manifest(tmp_path, "ports: [{port: 443, name: https, targetPort: 6443}]", name="kubernetes")
    assert judged(kdiag, "-f", kept, "--snapshot", str(healthy))[1] == []


def test_standard_input(kdiag: Kdiag, healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {a: b}, ports: [{port: 80}]}\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    _, findings = judged(kdiag, "-f", "-", "--snapshot", str(healthy))
    assert [(item["code"], item["frontend"]) for item in findings] == [("KD301", None)]
    assert findings[0]["evidence"][0]["source"] == "standard input"


def test_ranges_need_no_cluster(kdiag: Kdiag) -> None:
    apart = ("--pod-cidr", "10.244.0.0/16", "--service-cidr", "10.96.0.0/12", "--node-cidr", "192.168.0.0/24")
    assert judged(kdiag, *apart) == (0, [])
    together = (
        "--pod-cidr",
        "10.96.0.0/16,10.96.1.0/24",
        "--service-cidr",
        "10.96.0.0/12",
        "--node-cidr",
        "10.96.5.0/24",
    )
    code, findings = judged(kdiag, *together)
    assert code == 1
    assert sorted(item["title"] for item in findings) == [
        "Node range and Service range overlap",
        "Node range and pod range overlap",
        "Planned pod range and pod range overlap",
        "Pod range and Service range overlap",
    ]


def test_ranges_beside_those_in_use(kdiag: Kdiag, healthy: Path) -> None:
    code, findings = judged(kdiag, "--pod-cidr", "10.96.0.0/16", "--snapshot", str(healthy))
    assert (code, [item["code"] for item in findings]) == (1, ["KD101"])
    assert judged(kdiag, "--service-cidr", "10.99.0.0/16", "--snapshot", str(healthy)) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pod-cidr", "10.0.0.0"), "--pod-cidr 10.0.0.0: no address range"),
        (("--pod-cidr", "10.0.0.0/8", "--select", "KD201"), "leave no check to run"),
        (("-f", "nowhere.yaml"), "cannot read the manifest nowhere.yaml"),
    ],
)
def test_errors(kdiag: Kdiag, arguments: tuple[str, ...], words: str) -> None:
    outcome = kdiag("preflight", "--demo", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err


def test_manifests_that_hold_nothing_to_judge(kdiag: Kdiag, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n")
    outcome = kdiag("preflight", "--demo", "-f", str(tmp_path))
    assert "nothing that can be judged, but 1 Secret" in outcome.err
    (tmp_path / "secret.yaml").unlink()
    assert "holds no manifest" in kdiag("preflight", "--demo", "-f", str(tmp_path)).err
    (tmp_path / "bad.yaml").write_text("a: 1\n b: 2\n")
    assert "bad.yaml:2: not YAML" in kdiag("preflight", "--demo", "-f", str(tmp_path)).err


def test_other_commands_judge_no_plans(kdiag: Kdiag) -> None:
    assert "there is no option" in kdiag("check-rules", "--demo", "--pod-cidr", "10.0.0.0/8").err
