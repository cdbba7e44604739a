"""The commands on real nodes: an unprivileged user logs in to real sshd, and real rules recorded from kube-proxy are judged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Kdiag
from tests.corpus_fixtures import cluster
from tests.lab.nodes import PLAIN_USER, USER, Lab, LabNode
from tests.live.api_double import ApiDouble, rbac_grants
from tests.live.certificates import Authority

BASE = "v1.30.3-iptables-nft"
NODES = ("node01", "node02")


@pytest.fixture(scope="module")
def machines(lab: Lab) -> list[LabNode]:
    """Two nodes with the rules that kube-proxy wrote on them."""
    return [lab.start(node, rules=cluster(BASE).nodes[node]["iptables-save"].text()) for node in NODES]


@pytest.fixture
def options(lab: Lab, machines: list[LabNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What somebody types who has a kubeconfig and a key. The third node is not there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("KUBECONFIG", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh" / "known_hosts").write_text(
        "".join(f"{machine.address} {machine.host_key()}\n" for machine in machines)
    )
    (tmp_path / ".kube").mkdir()
    with ApiDouble(cluster(BASE), authority=Authority(tmp_path), grants=rbac_grants()) as server:
        addresses = {machine.node: machine.address for machine in machines}
        for item in server.items("/api/v1/nodes"):
            for address in item["status"]["addresses"]:
                if address["type"] == "InternalIP":
                    address["address"] = addresses.get(item["metadata"]["name"], "10.77.0.250")
        server.kubeconfig(tmp_path / ".kube" / "config")
        yield ["--ssh-user", USER, "--ssh-key", str(lab.key), "--node-timeout", "5"]


def timeless(text: str) -> str:
    return re.sub(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d( UTC|Z|\+00:00)", "TIME", text)


def test_first_run(kdiag: Kdiag, options: list[str], machines: list[LabNode], tmp_path: Path) -> None:
    before = [machine.run("iptables-save") for machine in machines]
    settle = ["--settle", "0"]
    doctor = kdiag("doctor", *options)
    assert doctor.code == 3
    for node in NODES:
        assert re.search(rf"^ok +node {node} +logged in as {USER}, root by sudo", doctor.out, re.MULTILINE)
    assert re.search(r"^FAILED +node controlplane ", doctor.out, re.MULTILINE)
    live = kdiag("preflight", *options, *settle)
    stored = kdiag("collect", "-o", str(tmp_path / "stored.tar.gz"), *options, *settle)
    again = kdiag("preflight", "--snapshot", str(tmp_path / "stored.tar.gz"))
    assert stored.code == 3
    assert timeless(live.out) == timeless(again.out)
    assert (live.code, live.err) == (again.code, "")
    document = json.loads(kdiag("check-rules", "--snapshot", str(tmp_path / "stored.tar.gz"), "-o", "json").out)
    assert document["summary"]["nodes_judged"] == 2
    assert document["findings"] == []
    assert {gap["node"] for gap in document["gaps"] if gap["kind"] == "failed"} == {"controlplane"}
    assert [_without_counters(machine.run("iptables-save")) for machine in machines] == [
        _without_counters(text) for text in before
    ]


def test_a_user_who_may_not_use_sudo(kdiag: Kdiag, options: list[str]) -> None:
    options[1] = PLAIN_USER
    doctor = kdiag("doctor", "--node", "node01", *options)
    assert doctor.code == 3
    assert f"in sudoers: {PLAIN_USER} ALL=(root) NOPASSWD: /usr/sbin/iptables-save" in doctor.out
    outcome = kdiag("check-rules", "--node", "node01", "--settle", "0", *options, "-o", "json")
    assert outcome.code == 3
    failed = [gap for gap in json.loads(outcome.out)["gaps"] if gap["kind"] == "failed"]
    assert len(failed) == 1, failed
    (gap,) = failed
    assert (gap["node"], gap["subject"]) == ("node01", "sudo")


def test_rules_on_standard_output_of_a_saved_script(
    kdiag: Kdiag, options: list[str], machines: list[LabNode], tmp_path: Path
) -> None:
    script = kdiag("collect", "--print-script").out
    (tmp_path / "node01.out").write_text(machines[0].run("sh", "-s", text=script))
    path = str(tmp_path / "stored")
    kdiag("collect", "-o", path, "--no-nodes", f"--from-file=node01={tmp_path}/node01.out", "--settle", "0", *options)
    document = json.loads(kdiag("check-rules", "--snapshot", path, "-o", "json").out)
    assert document["summary"]["nodes_judged"] == 1
    assert document["findings"] == []


def _without_counters(text: str) -> str:
    return re.sub(r"\[\d+:\d+\]|^#.*$", "", text, flags=re.MULTILINE)
