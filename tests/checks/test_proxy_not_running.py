from __future__ import annotations

from typing import Any

import pytest

from kdiag.checks.proxy_not_running import CHECK
from kdiag.model.addresses import Family
from kdiag.model.cluster import Pod
from kdiag.model.host import HealthAnswer, HostFacts, Process
from kdiag.model.report import Finding, Severity
from kdiag.model.rules import Backend, Ruleset
from kdiag.model.view import NodeView
from tests.checks.builders import NOW, cluster, node, node_view, pod, view

SOURCES = {"processes": "nodes/node01/ps-ef.txt", "health": "nodes/node01/healthz.json", "proxy_mode": "nodes/node01/m"}


def processes(*commands: str) -> tuple[Process, ...]:
    return tuple(
        Process(pid=pid, argv=tuple(command.split()), source="ps") for pid, command in enumerate(commands, start=1)
    )


def host(*commands: str, answered: bool | None = None, mode: str | None = None) -> HostFacts:
    health = None if answered is None else HealthAnswer(source="h", text="{}" if answered else "", answered=answered)
    return HostFacts(
        processes=processes(*commands) if commands else None,
        health=health,
        proxy_mode_answer=mode,
        sources=SOURCES,
    )


def found(item: NodeView, *objects: Any, **keywords: Any) -> list[Finding]:
    return list(CHECK.run(view(cluster(*objects), nodes=[item], **keywords)))


def proxy_pod(**changes: Any) -> Pod:
    return pod("kube-system/kube-proxy-x", **changes)


def test_rules_without_a_process() -> None:
    (finding,) = found(node_view(host=host("/sbin/init", "kubelet", answered=False, mode="")))
    assert (finding.code, finding.severity, finding.node) == ("KD401", Severity.WARNING, "node01")
    assert finding.actual == "no kube-proxy among its processes; nothing answers at its health and mode ports"
    assert "misses every change" in finding.message
    assert {item.source for item in finding.evidence} == set(SOURCES.values())
    assert "systemctl" in finding.hint


@pytest.mark.parametrize(
    "command",
    [
        "/usr/local/bin/kube-proxy --config=/var/lib/kube-proxy/config.conf",
        "kube-proxy",
        "/usr/local/bin/k3s server",
        "/snap/microk8s/1/kubelite --kube-proxy-args-file=x",
        "/go-runner --log-file=/x /usr/local/bin/kube-proxy --v=2",
        "/bin/sh -c exec kube-proxy --master=x",
        "/hyperkube kube-proxy --v=2",
    ],
)
def test_a_running_proxy_is_silent(command: str) -> None:
    assert found(node_view(host=host("/sbin/init", command))) == []


@pytest.mark.parametrize("command", ["tail -f /var/log/kube-proxy.log", "grep kube-proxy", "kubectl logs kube-proxy"])
def test_somebody_who_looks_for_it_is_not_it(command: str) -> None:
    assert len(found(node_view(host=host("/sbin/init", command)))) == 1


def test_an_answer_beats_the_process_list() -> None:
    assert found(node_view(host=host("/sbin/init", mode="iptables"))) == []
    assert found(node_view(host=host("/sbin/init", answered=True))) == []


def test_the_process_list_of_a_container_proves_nothing() -> None:
    assert found(node_view(host=host("sleep infinity", "ps -ef"))) == []
    assert len(found(node_view(host=host("sleep infinity", "ps -ef", answered=False, mode="")))) == 1
    assert len(found(node_view(host=host("bash", "containerd")))) == 1


def test_silent_ports_alone_need_a_pod() -> None:
    silent = host(answered=False, mode="")
    assert found(node_view(host=silent)) == []
    (finding,) = found(node_view(host=silent, proxy_pod=proxy_pod()), proxy_pod())
    assert finding.actual == "nothing answers at its health and mode ports"
    assert "kubectl -n kube-system describe pod kube-proxy-x" in finding.hint


def test_nodes_that_need_no_proxy_are_left_alone() -> None:
    dead = host("/sbin/init")
    assert found(node_view(host=dead, mode=None)) == []
    assert found(node_view(host=dead, other_proxy="Cilium")) == []
    assert found(node_view(host=dead, api_node=node(os="windows"))) == []


def test_without_rules_the_message_says_so() -> None:
    empty = Ruleset(family=Family.IPV4, backend=Backend.UNKNOWN, source="x", tables={})
    bare = node_view(host=host("/sbin/init"), mode=None, proxy_pod=proxy_pod(), rulesets=[empty])
    (finding,) = found(bare, proxy_pod())
    assert "No rules of kube-proxy" in finding.message


def test_a_pod_that_is_not_ready() -> None:
    crashing = proxy_pod(ready=False)
    (finding,) = found(node_view(proxy_pod=crashing, recorded=False), crashing)
    assert finding.actual == "pod kube-system/kube-proxy-x is not ready (Running)"
    assert [item.source for item in finding.evidence] == ["cluster/pods.json"]


def test_pods_that_are_not_to_blame() -> None:
    crashing = proxy_pod(ready=False)
    leaving = proxy_pod(ready=False, deleted_at=NOW)
    assert found(node_view(proxy_pod=leaving), leaving) == []
    assert found(node_view(proxy_pod=crashing, api_node=node(ready=False)), crashing) == []
    assert found(node_view(proxy_pod=crashing), crashing, before=cluster(proxy_pod())) == []
    assert found(node_view(proxy_pod=crashing), crashing, before=cluster()) == []
    assert found(node_view(proxy_pod=proxy_pod()), proxy_pod()) == []
