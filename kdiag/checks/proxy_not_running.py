"""KD401: a node where kube-proxy ought to run and does not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from kdiag.checks.evidence import from_api, from_host
from kdiag.checks.interface import Check
from kdiag.model.cluster import Pod
from kdiag.model.host import Process
from kdiag.model.report import Evidence, Finding, Severity
from kdiag.model.view import NodeView, View

EMBEDDING = frozenset({"k3s", "k3s-server", "k3s-agent", "kubelite", "openshift-sdn-node"})
"""Programs that run kube-proxy inside themselves: k3s, MicroK8s, OpenShift SDN. RKE2 and k0s start one of its own."""

READERS = frozenset({"grep", "egrep", "tail", "cat", "less", "vi", "vim", "journalctl", "kubectl", "crictl", "ps"})
"""Commands that people run and that may name kube-proxy."""

INIT = frozenset({"init", "systemd", "openrc-init", "runit", "machined"})
"""What process 1 of a whole machine is called (machined: Talos). A container's is the container's own program."""

HOST_PROGRAMS = frozenset({"kubelet", "containerd", "dockerd", "crio"})


def run(view: View) -> Iterable[Finding]:
    """One finding per node."""
    for node in view.nodes:
        if node.other_proxy is not None or (node.node is not None and node.node.os != "linux"):
            continue
        if node.mode is None and node.proxy_pod is None:
            continue  # nothing shows that kube-proxy belongs here
        finding = _not_running(view, node)
        if finding is not None:
            yield finding


def _not_running(view: View, node: NodeView) -> Finding | None:
    if _answers(node) or _proxy_process(node.host.processes or ()) is not None:
        return None
    processes = node.host.processes
    silent = _asked_in_vain(node)
    signs: list[str] = []
    evidence: list[Evidence] = []
    # A list that shows a container's processes alone proves nothing, unless the proxy's own ports were silent too.
    if processes and (silent or _is_whole(processes)):
        signs.append("no kube-proxy among its processes")
        evidence.extend(from_host(node, "processes", f"{len(processes)} processes, none of them kube-proxy"))
    # Silent ports alone may only be bound elsewhere; with a pod that is meant to be here they are a sign.
    if silent and (signs or (not processes and node.proxy_pod is not None)):
        signs.append("nothing answers at its health and mode ports")
        evidence.extend(from_host(node, "health", "no answer"))
        evidence.extend(from_host(node, "proxy_mode", "no answer"))
    pod = node.proxy_pod
    if pod is not None and _is_down(view, node, pod):
        signs.append(f"pod {pod.key} is not ready ({pod.phase})")
        evidence.extend(from_api(view.cluster, "pods", f"{pod.key}: {pod.phase}, not ready"))
    if not signs:
        return None
    if node.mode is None and node.rulesets:
        left = "No rules of kube-proxy were found on the node: no Service works there."
    else:
        left = "The node keeps the rules that it has, and misses every change of Services and pods from now on."
    return CHECK.finding(
        node=node.name,
        expected="kube-proxy runs",
        actual="; ".join(signs),
        message=f"kube-proxy does not run on {node.name}: {'; '.join(signs)}. {left}",
        hint=_hint(node),
        evidence=evidence,
    )


def _is_down(view: View, node: NodeView, pod: Pod) -> bool:
    """True if the proxy's pod was not ready in both readings of the API, and not because its whole node is not."""
    earlier = view.before.pod_by_key.get(pod.key)
    node_ready = node.node is None or node.node.ready
    return node_ready and pod.meta.deleted_at is None and not pod.ready and earlier is not None and not earlier.ready


def _answers(node: NodeView) -> bool:
    """True if kube-proxy itself said something: then it runs, whatever a process list shows."""
    return bool(node.host.proxy_mode_answer) or (node.host.health is not None and node.host.health.answered)


def _asked_in_vain(node: NodeView) -> bool:
    """True if both ports of kube-proxy were asked and neither answered."""
    health = node.host.health
    return node.host.proxy_mode_answer == "" and health is not None and not health.answered


def _program(process: Process) -> str:
    return PurePosixPath(process.argv[0]).name.rstrip(":") if process.argv else ""


def _proxy_process(processes: Iterable[Process]) -> Process | None:
    """A process that is kube-proxy, starts it, or has it inside."""
    for process in processes:
        program = _program(process)
        if program in EMBEDDING:
            return process
        if program in READERS:
            continue
        # Also `/bin/sh -c exec kube-proxy …` and `/go-runner --log-file=… kube-proxy`, as GKE and kops start it.
        if any(PurePosixPath(word).name == "kube-proxy" for text in process.argv for word in text.split()):
            return process
    return None


def _is_whole(processes: tuple[Process, ...]) -> bool:
    """True if the list shows a machine and not a container: its process 1 is an init, or host programs are seen."""
    return any(
        (process.pid == 1 and _program(process) in INIT) or _program(process) in HOST_PROGRAMS for process in processes
    )


def _hint(node: NodeView) -> str:
    if node.proxy_pod is not None:
        key = node.proxy_pod.key
        return f"kubectl -n {key.namespace} describe pod {key.name}, and its log: kubectl -n {key.namespace} logs {key.name} -p."
    return f"On {node.name}: systemctl status kube-proxy, or crictl ps -a --name kube-proxy."


CHECK = Check(
    code="KD401",
    slug="proxy-not-running",
    title="kube-proxy does not run on the node",
    severity=Severity.WARNING,
    explanation="""\
A node has rules of kube-proxy, or a kube-proxy pod is bound to it, and kube-proxy does not run there.

**What it does to traffic.** Nothing at once: the kernel keeps the rules. From then on the node misses every change, and
sends traffic to pods that are gone. After a reboot it has no rules at all.

**How it is found.** kube-proxy is not in the node's process list, and its ports for health and mode do not answer; or its
pod is not ready. Process lists of containers are not believed without a second sign: process 1 must be an init system, or
the kubelet or a container runtime must be seen.

**What is left alone.** Nodes whose kube-proxy answers. Nodes where another program has kube-proxy inside (k3s, MicroK8s,
OpenShift SDN) or replaces it (Cilium, …). Nodes without a trace of kube-proxy. Pods that are not ready because their node
is not. Windows nodes.
""",
    hint="Look at the kube-proxy pod of the node, or at its unit if it runs outside of the cluster.",
    run=run,
)
