"""`kdiag doctor`: every permission and every node tried, with what to do about each miss."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdiag.gather.transports import FailureKind, NodeFailure
from tests.cli.conftest import Kdiag
from tests.live.api_double import ApiDouble, rbac_grants
from tests.live.fixtures import DoubleFactory, NodesFactory


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Subject → (mark, result), wrapped cells joined."""
    lines = text.splitlines()
    what, result = lines[0].index("WHAT"), lines[0].index("RESULT")
    out: dict[str, tuple[str, str]] = {}
    subject = ""
    for line in lines[1:]:
        if not line:
            break
        if line[what:result].strip():
            subject = line[what:result].strip()
            out[subject] = (line[:what].strip(), line[result:])
        else:
            out[subject] = (out[subject][0], f"{out[subject][1]} {line[result:]}")
    return out


def advice(text: str) -> dict[str, str]:
    """Subjects → what to do."""
    lines = text.partition("\nWhat to do:\n")[2].splitlines()
    return {lines[at].strip(): lines[at + 1].strip() for at in range(0, len(lines) - 2, 2)}


def run(kdiag: Kdiag, server: ApiDouble, tmp_path: Path, *arguments: str) -> tuple[int, str]:
    outcome = kdiag("doctor", "--kubeconfig", str(server.kubeconfig(tmp_path / "kubeconfig")), *arguments)
    assert outcome.err == ""
    return outcome.code, outcome.out


def test_all_is_well(kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
    server, machines = double(grants=rbac_grants()), nodes()
    code, text = run(kdiag, server, tmp_path)
    assert code == 0
    assert text.splitlines()[-1] == "kdiag can do its work here"
    assert advice(text) == {}
    found = rows(text)
    assert found["API server"] == ("ok", f"{server.url}, Kubernetes v1.36.2")
    assert found["list pods"] == ("ok", "permitted")
    assert found["list daemonsets.apps -n kube-system"] == ("ok", "permitted")
    assert {subject for subject in found if subject.startswith("node ")} == {
        "node controlplane",
        "node node01",
        "node node02",
    }
    assert found["node node01"][0] == "ok"
    assert set(machines.runs) == {"controlplane", "node01", "node02"}
    assert server.methods == {"GET"}
    assert server.authorizer is not None
    assert server.authorizer.refused == []


def test_old_cluster(kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
    nodes()
    grants = tuple(grant for grant in rbac_grants() if grant.resource not in ("servicecidrs", "ippools"))
    code, text = run(kdiag, double("v1.20.2-iptables-nft", grants=grants), tmp_path)
    assert code == 0
    assert "servicecidrs" not in text
    assert text.count("endpointslices") == 1


def test_missing_permissions(kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
    nodes()
    grants = tuple(
        grant for grant in rbac_grants() if grant.resource != "pods" and grant.object_name != "cilium-config"
    )
    server = double(grants=grants)
    server.trouble.statuses["/api/v1/endpoints"] = [500] * 9
    code, text = run(kdiag, server, tmp_path, "--no-nodes")
    assert code == 3
    found = rows(text)
    assert text.splitlines()[-1] == f"3 of {len(found)} things failed"
    assert found["list pods"] == ("FAILED", "forbidden")
    assert found["list endpoints"] == ("FAILED", "HTTP status 500")
    assert found["get configmaps/cilium-config -n kube-system"] == ("FAILED", "forbidden")
    assert found["list services"] == ("ok", "permitted")
    assert advice(text) == {
        "list pods, get configmaps/cilium-config -n kube-system": (
            "kubectl apply -f deploy/rbac.yaml, and use its service account kdiag"
        ),
        "list endpoints": "look at the API server",
    }


@pytest.mark.parametrize(
    ("about", "ok", "result", "remedy"),
    [
        (
            "uid=0 user=root sudo=not_needed iptables-save=/x ip=/x ss=/x ps=/x wget=/x zstd=/x",
            True,
            "logged in as root",
            None,
        ),
        (
            "uid=0 user=root iptables-save=/x ip=/x ps=/x",
            True,
            "logged in as root; without ss, curl, gzip it tells less",
            None,
        ),
        (
            "uid=1 user=joe sudo=allowed nft=/x ip=/x ss=/x ps=/x curl=/x gzip=/x",
            True,
            "logged in as joe, root by sudo",
            None,
        ),
        (
            "uid=1 user=joe sudo=refused iptables-save=/sbin/iptables-save nft=/sbin/nft ip=/x",
            False,
            "joe may not run /sbin/iptables-save with sudo and without a password",
            'in sudoers: joe ALL=(root) NOPASSWD: /sbin/iptables-save "", /sbin/nft list flowtables, '
            "/sbin/nft -j list ruleset, /sbin/nft list ruleset",
        ),
        (
            "uid=1 user=joe sudo=allowed sudo-refused=nft,ipset iptables-save=/x nft=/sbin/nft ipset=/sbin/ipset ip=/x",
            False,
            "joe may not run /sbin/nft, /sbin/ipset with sudo and without a password",
            "in sudoers: joe ALL=(root) NOPASSWD: /sbin/nft list flowtables, /sbin/nft -j list ruleset, "
            "/sbin/nft list ruleset, /sbin/ipset save",
        ),
        (
            "uid=0 user=root sudo=allowed sudo-refused= iptables-save=/x ip=/x ss=/x ps=/x curl=/x gzip=/x",
            True,
            "logged in as root, root by sudo",
            None,
        ),
        (
            "uid=0 user=root sudo=missing iptables-save=/x",
            False,
            "there is no sudo, and --sudo is always",
            "leave --sudo at auto: root needs none",
        ),
        (
            "uid=1 user=joe sudo=missing iptables-save=/x",
            False,
            "joe is not root, and there is no sudo",
            "log in as root, or let kdiag use sudo",
        ),
        (
            "uid=1 user=joe sudo=not_asked iptables-save=/x",
            False,
            "joe is not root, and --sudo is never",
            "log in as root, or let kdiag use sudo",
        ),
        (
            "uid=1 sudo=strange iptables-save=/x",
            False,
            "the user is not root",
            'in sudoers: the user ALL=(root) NOPASSWD: /x ""',
        ),
        (
            "uid=0 user=root ip=/x",
            False,
            "logged in as root; neither iptables-save nor nft is there",
            "install iptables",
        ),
        ("uid=0 user=root iptables-save=/x", False, "logged in as root; there is no ip command", "install iproute2"),
    ],
)
def test_nodes(
    kdiag: Kdiag,
    double: DoubleFactory,
    nodes: NodesFactory,
    tmp_path: Path,
    about: str,
    ok: bool,
    result: str,
    remedy: str | None,
) -> None:
    machines = nodes()
    machines.about["node01"] = about.translate(str.maketrans(" _,", "\n  ")).encode() + b"\n"
    code, text = run(kdiag, double(), tmp_path, "--node", "node01")
    assert code == (0 if ok else 3)
    assert rows(text)["node node01"] == ("ok" if ok else "FAILED", result)
    assert advice(text) == ({} if remedy is None else {"node node01": remedy})
    assert set(machines.runs) == {"node01"}


def test_nodes_that_fail_or_do_not_count(
    kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path
) -> None:
    server, machines = double(), nodes()
    server.items("/api/v1/nodes")[2]["status"]["nodeInfo"]["operatingSystem"] = "windows"
    machines.failures["node01"] = NodeFailure(FailureKind.REFUSED, "connection refused", hint="is sshd running?")
    code, text = run(kdiag, server, tmp_path)
    assert code == 3
    assert rows(text)["node node01"] == ("FAILED", "connection refused")
    assert rows(text)["node node02"] == ("-", "a Windows node has no netfilter rules")
    assert advice(text) == {"node node01": "is sshd running?"}


def test_without_an_api_the_inventory_is_tried(
    kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path
) -> None:
    machines = nodes()
    (tmp_path / "inventory.yaml").write_text("node01: 192.0.2.1\n")
    path = double().kubeconfig(tmp_path / "wrong", server="https://127.0.0.1:1")
    outcome = kdiag("doctor", "--kubeconfig", str(path), "--inventory", str(tmp_path / "inventory.yaml"))
    assert outcome.code == 3
    assert rows(outcome.out)["API server"] == (
        "FAILED",
        "cannot connect to the API server https://127.0.0.1:1: Connection refused",
    )
    assert set(machines.runs) == {"node01"}


def test_credentials_that_are_not_accepted(
    kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path
) -> None:
    nodes()
    server = double()
    server.tokens = {"another"}
    code, text = run(kdiag, server, tmp_path)
    assert code == 3
    assert rows(text) == {"API server": ("FAILED", f"{server.url} does not accept the credentials")}
    assert advice(text) == {"API server": "log in again; kubectl auth whoami shows who you are"}


def test_a_server_on_a_bad_day(kdiag: Kdiag, double: DoubleFactory, tmp_path: Path) -> None:
    server = double()
    server.trouble.bodies["/version"] = (418, b"")
    code, text = run(kdiag, server, tmp_path, "--no-nodes")
    assert code == 3
    assert rows(text)["API server"] == ("FAILED", "HTTP status 418")


def test_unknown_node(kdiag: Kdiag, double: DoubleFactory, tmp_path: Path) -> None:
    path = double().kubeconfig(tmp_path / "kubeconfig")
    outcome = kdiag("doctor", "--kubeconfig", str(path), "--node", "node1")
    assert outcome.code == 2
    assert outcome.err.startswith("error: there is no node node1\n")


def test_node_and_no_nodes(kdiag: Kdiag) -> None:
    outcome = kdiag("doctor", "--node", "a", "--no-nodes")
    assert outcome.err.startswith("error: --node and --no-nodes exclude each other")
