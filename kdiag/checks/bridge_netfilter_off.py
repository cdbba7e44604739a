"""KD407: bridged packets that netfilter does not see."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.evidence import from_host
from kdiag.checks.interface import Check
from kdiag.checks.ip_forward_off import served_families
from kdiag.model.addresses import Family
from kdiag.model.report import Finding, Severity
from kdiag.model.view import NodeView, View

BRIDGES = frozenset({"cni0", "cbr0", "kube-bridge", "weave"})
"""Bridges that pods are attached to: bridge plugin and flannel, kubenet, kube-router, Weave."""

SYSCTLS = {
    Family.IPV4: "net.bridge.bridge-nf-call-iptables",
    Family.IPV6: "net.bridge.bridge-nf-call-ip6tables",
}


def run(view: View) -> Iterable[Finding]:
    """One finding per node and family."""
    families = served_families(view.cluster)
    for node in view.nodes:
        bridge = _pod_bridge(node)
        if bridge is None or node.other_proxy is not None:
            continue
        # With masqueradeAll the answer goes to the node's own address and so passes netfilter all the same.
        masqueraded = node.config is not None and bool(node.config.masquerade_all)
        for family in families:
            sysctl = SYSCTLS[family]
            if node.host.sysctls.get(sysctl) != "0":
                continue
            yield CHECK.finding(
                severity=Severity.INFO if masqueraded else None,
                node=node.name,
                expected=f"{sysctl} = 1",
                actual=f"{sysctl} = 0",
                message=(
                    f"On {node.name} pods sit on the bridge {bridge}, and {sysctl} is 0: the answer of a pod to another "
                    f"{family} pod of the same node crosses the bridge without being translated back, so a Service fails "
                    "for clients on the node of its endpoint, and works for others."
                    + (" masqueradeAll hides this here." if masqueraded else "")
                ),
                hint=f"On {node.name}: modprobe br_netfilter; sysctl -w {sysctl}=1, and keep it in /etc/sysctl.d.",
                evidence=(*from_host(node, "sysctls", f"{sysctl} = 0"), *from_host(node, "addresses", bridge)),
            )


def _pod_bridge(node: NodeView) -> str | None:
    """The bridge that the node's pods are attached to, None if there is none."""
    found = {item.name for item in node.host.interfaces or ()} | {item.interface for item in node.host.addresses or ()}
    return min(found & BRIDGES, default=None)


CHECK = Check(
    code="KD407",
    slug="bridge-netfilter-off",
    title="Netfilter does not see bridged packets",
    severity=Severity.ERROR,
    explanation="""\
Where pods are attached to a Linux bridge (the bridge plugin, flannel, kubenet, kube-router), the packets between two pods
of one node are switched, not routed. Only with `net.bridge.bridge-nf-call-iptables = 1` (and `…-ip6tables` for IPv6) do
they pass netfilter, where the translation of a Service is undone.

**What it does to traffic.** A pod that calls a Service and is sent to a pod of its own node gets an answer from an address
that it never called, and drops it. It looks random: other endpoints work.

**How it is found.** The sysctl is recorded and 0, and the node has a bridge for pods (cni0, cbr0, kube-bridge, weave).

**What is left alone.** Nodes without such a bridge: Calico, cloud CNIs and eBPF route packets. Nodes where the sysctl was
not recorded. With `masqueradeAll` the fault cannot bite and is worth knowing only (info).
""",
    hint="Load br_netfilter and set the sysctl to 1, permanently (/etc/modules-load.d, /etc/sysctl.d).",
    run=run,
    needs_nodes=True,
)
