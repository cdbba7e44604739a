"""KD410: loopback addresses of a node that can be reached from its network."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import PurePosixPath

from kdiag.checks.evidence import from_host
from kdiag.checks.interface import Check
from kdiag.checks.proxy_release import seen_release
from kdiag.model.addresses import Family
from kdiag.model.proxy import ProxyMode, Version
from kdiag.model.report import Evidence, Finding, Severity
from kdiag.model.rules import Rule, Ruleset
from kdiag.model.view import NodeView, View

ROUTE_LOCALNET = "net.ipv4.conf.all.route_localnet"

GUARDED_BY_PROXY: Version = (1, 27)
"""First kube-proxy that writes the guard itself, in iptables mode with node ports on localhost."""

LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


def run(view: View) -> Iterable[Finding]:
    """One finding per node."""
    for node in view.nodes:
        if node.other_proxy is not None or node.host.sysctls.get(ROUTE_LOCALNET) != "1":
            continue
        filters = [
            ruleset for ruleset in node.rulesets if ruleset.family is Family.IPV4 and ruleset.covers_table("filter")
        ]
        writer = _writer(node)
        if not filters or writer is None or not all(ruleset.complete for ruleset in filters):
            continue
        if any(_is_guard(rule) for ruleset in filters for rule in _filter_rules(ruleset)):
            continue
        yield CHECK.finding(
            node=node.name,
            expected=f"a rule that drops what comes from outside for {LOOPBACK}",
            actual=f"{ROUTE_LOCALNET} = 1 and no such rule",
            message=(
                f"{node.name} routes packets for {LOOPBACK} ({ROUTE_LOCALNET} is 1, for node ports on localhost), and the "
                f"rule that {writer} writes against abuse is missing: a neighbour on the same network can reach what "
                "listens on the node's loopback addresses (CVE-2020-8558)."
            ),
            evidence=(
                *from_host(node, "sysctls", f"{ROUTE_LOCALNET} = 1"),
                *(Evidence(source=ruleset.source, text="no DROP for 127.0.0.0/8") for ruleset in filters),
            ),
        )


def _writer(node: NodeView) -> str | None:
    """Who ought to have written the guard, None if nobody is known to."""
    release = seen_release(node)
    if release is not None and release >= GUARDED_BY_PROXY and node.mode is ProxyMode.IPTABLES:
        localhost = node.config.localhost_node_ports if node.config is not None else None
        if localhost is not False:
            return "kube-proxy"
    if any(process.argv and PurePosixPath(process.argv[0]).name == "kubelet" for process in node.host.processes or ()):
        return "the kubelet"
    return None


def _filter_rules(ruleset: Ruleset) -> Iterable[Rule]:
    table = ruleset.tables.get("filter")
    return (rule for chain in table.chains.values() for rule in chain.rules) if table is not None else ()


def _is_guard(rule: Rule) -> bool:
    """True for any rule that drops packets to the loopback network, by whomever it was written."""
    if rule.target not in ("DROP", "REJECT") or rule.destination is None or rule.destination.negated:
        return False
    return any(network == LOOPBACK for network in rule.destination.networks)


CHECK = Check(
    code="KD410",
    slug="localnet-unguarded",
    title="Loopback addresses can be reached from the network",
    severity=Severity.INFO,
    explanation="""\
For node ports on localhost kube-proxy sets `net.ipv4.conf.all.route_localnet` to 1. Then a machine on the same network can
send packets to 127.0.0.1 of the node. A rule in the filter chain KUBE-FIREWALL ("block incoming localnet connections")
stops them. The kubelet writes it, and from 1.27 on kube-proxy in iptables mode too.

**What it does to traffic.** Nothing to Services. Programs that listen on loopback only are open to neighbours.

**How it is found.** The sysctl is 1, and no rule of the IPv4 filter table drops packets to 127.0.0.0/8 although kube-proxy
(1.27 or later, iptables mode) or a running kubelet should have written one.

**What is left alone.** Nodes without a kubelet and with an older kube-proxy, filter tables that were not recorded whole.
""",
    hint="Restart kube-proxy or the kubelet, which write the rule, or set the sysctl to 0 and iptables.localhostNodePorts to false.",
    run=run,
    needs_nodes=True,
)
