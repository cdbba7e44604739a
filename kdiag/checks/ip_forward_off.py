"""KD406: a node that does not forward packets."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.evidence import from_host
from kdiag.checks.interface import Check
from kdiag.model.addresses import Family
from kdiag.model.cluster import ClusterState
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View

SYSCTLS = {
    Family.IPV4: ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"),
    Family.IPV6: ("net.ipv6.conf.all.forwarding",),
}
"""net.ipv4.ip_forward and net.ipv4.conf.all.forwarding are one setting (Documentation/networking/ip-sysctl)."""


def run(view: View) -> Iterable[Finding]:
    """One finding per node and family."""
    families = served_families(view.cluster)
    for node in view.nodes:
        if node.other_proxy is not None or (node.node is not None and node.node.os != "linux"):
            continue
        for family in families:
            sysctl = next((name for name in SYSCTLS[family] if node.host.sysctls.get(name) == "0"), None)
            if sysctl is None:
                continue
            yield CHECK.finding(
                node=node.name,
                expected=f"{sysctl} = 1",
                actual=f"{sysctl} = 0",
                message=(
                    f"{node.name} does not forward {family} packets ({sysctl} is 0): what comes from pods or from outside "
                    "for a Service is translated to a pod and then thrown away, unless the pod uses the node's own address."
                ),
                hint=f"On {node.name}: sysctl -w {sysctl}=1, and find out who resets it: grep -r forward /etc/sysctl.*",
                evidence=from_host(node, "sysctls", f"{sysctl} = 0"),
            )


def served_families(state: ClusterState) -> tuple[Family, ...]:
    """IPv4 always, IPv6 if a Service has an IPv6 cluster IP; only IPv6 if no Service has an IPv4 one."""
    versions = {address.version for service in state.services for address in service.cluster_ips}
    if versions == {6}:
        return (Family.IPV6,)
    return (Family.IPV4, Family.IPV6) if 6 in versions else (Family.IPV4,)


CHECK = Check(
    code="KD406",
    slug="ip-forward-off",
    title="The node does not forward packets",
    severity=Severity.ERROR,
    explanation="""\
Pods reach Services, and clients reach node ports, through the forwarding of the node's kernel. The kubelet, kube-proxy and
most CNI plugins turn it on; a reload of `/etc/sysctl.d`, a hardening job or a network manager can turn it off again.

**What it does to traffic.** Packets from pods, and packets from outside to pods, are dropped after their translation. The
node itself still reaches its own pods.

**How it is found.** `net.ipv4.ip_forward` and, if the cluster has IPv6 Services, `net.ipv6.conf.all.forwarding` are 0.

**What is left alone.** Nodes whose sysctls were not recorded. Forwarding of single interfaces. Nodes where another
program replaces kube-proxy: some forward in eBPF.
""",
    hint="Set the sysctl to 1, and find the file or program that sets it to 0.",
    run=run,
    needs_nodes=True,
)
