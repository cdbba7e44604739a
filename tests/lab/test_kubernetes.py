"""Real kube-proxies on the nodes of the lab, which follow a real API server: where the machine has the binaries."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Kdiag
from tests.lab.nodes import USER, Lab, LabNode
from tests.live.real_api import ADMIN_TOKEN, RealApi, assets

SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
PATIENCE_S = 60.0
CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
clusterCIDR: 10.244.0.0/16
clientConnection:
  kubeconfig: /mnt/kube-proxy.kubeconfig
conntrack:
  maxPerCore: 0
"""


def kube_proxy() -> Path:
    """The binary; skips the test where there is none."""
    directory = assets()
    named = os.environ.get("KDIAG_KUBE_PROXY")
    found = Path(named) if named else (directory or Path("/nowhere")) / "kube-proxy"
    if not os.access(found, os.X_OK):
        pytest.skip("a real kube-proxy needs one in KUBEBUILDER_ASSETS, or KDIAG_KUBE_PROXY=FILE")
    return found


@pytest.fixture
def proxies(real_api: RealApi, recorded_nodes: list[LabNode]) -> Iterator[list[LabNode]]:
    """The nodes, with a kube-proxy on each that has written its rules."""
    binary = kube_proxy()
    for machine in recorded_nodes:
        target = machine.directory / "kube-proxy"
        if not target.exists():
            shutil.copy(binary, target)
        machine.run("nft", "flush", "ruleset")
        (machine.directory / "kube-proxy.conf").write_text(CONFIG.format(mode="iptables"))
        real_api.kubeconfig(machine.directory / "kube-proxy.kubeconfig", token=ADMIN_TOKEN)
        machine.background.append(
            machine.start(
                *("/mnt/kube-proxy", "--config=/mnt/kube-proxy.conf", f"--hostname-override={machine.node}"),
            )
        )
    for machine in recorded_nodes:
        wait_for(machine, "default/local-cluster", there=True)
    yield recorded_nodes
    for machine in recorded_nodes:
        machine.run("sh", "-c", "for p in $(pgrep -x kube-proxy); do kill -9 $p; done")
    real_api.restore()


def wait_for(machine: LabNode, text: str, *, there: bool) -> None:
    """Until the node's rules speak of something, or do so no more."""
    deadline = time.monotonic() + PATIENCE_S
    while (text in machine.run("iptables-save")) is not there:
        assert time.monotonic() < deadline, f"{machine.node}: kube-proxy wrote no rules"
        time.sleep(0.5)


@pytest.fixture
def options(
    lab: Lab, proxies: list[LabNode], real_api: RealApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("KUBECONFIG", "SSH_AUTH_SOCK", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh" / "known_hosts").write_text(
        "".join(f"{machine.address} {machine.host_key()}\n" for machine in proxies)
    )
    kubeconfig = real_api.kubeconfig(tmp_path / "kubeconfig")
    return ["--kubeconfig", str(kubeconfig), "--ssh-user", USER, "--ssh-key", str(lab.key), "--settle", "3"]


def test_a_healthy_cluster_and_a_proxy_that_no_longer_follows(
    kdiag: Kdiag, options: list[str], proxies: list[LabNode], real_api: RealApi
) -> None:
    healthy = kdiag("check-rules", "--fail-on", "info", *options)
    assert (healthy.code, healthy.err) == (0, ""), healthy.out
    assert "judged 3 of 3 nodes" in healthy.out
    nodes = json.loads(kdiag("check-nodes", "-o", "json", *options).out)
    assert not [item for item in nodes["findings"] if "proxy" in item["slug"]]

    frozen = proxies[2]
    frozen.run("pkill", "-STOP", "-x", "kube-proxy")
    with contextlib.ExitStack() as stack:
        stack.callback(frozen.run, "pkill", "-CONT", "-x", "kube-proxy")
        with real_api.edited(SLICES) as items:
            for item in items:
                if item["metadata"]["name"].startswith("local-cluster-"):
                    item["endpoints"] = []
        for machine in proxies[:2]:
            wait_for(machine, "default/local-cluster has no endpoints", there=True)
        time.sleep(4)  # longer than --settle
        outcome = kdiag("check-rules", "-o", "json", "--retries", "0", *options)
    document = json.loads(outcome.out)
    assert outcome.code == 1
    assert document["summary"]["nodes_judged"] == 3
    concerned = {(item["node"], item["service"]) for item in document["findings"]}
    assert concerned == {(frozen.node, "default/local-cluster")}
