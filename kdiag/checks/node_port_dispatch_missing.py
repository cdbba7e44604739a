"""KD222: the jump to the chain of node ports is missing."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles, by_fault, finding, proxy_hint
from kdiag.checks.group_words import clients, count, families, listed, on_nodes
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding for all nodes and families that lack it."""
    for bundle in bundles(view, CauseKind.NODE_PORT_DISPATCH, by_fault):
        yield finding(CHECK, view, bundle, message=_message(view, bundle), hint=proxy_hint(view, bundle.nodes))


def _message(view: View, bundle: Bundle) -> str:
    ports = listed((f"{item.port}/{item.protocol}" for item in bundle.frontends), 5)
    harm = (
        f"Every node port is dead there ({count(len(bundle.subjects), 'Service')}: {ports}), for {clients(view, bundle)}."
        if bundle.differences
        else "No node port was found to suffer from it now."
    )
    return (
        f"{on_nodes(bundle)} ({families(bundle.families)}), {bundle.groups[0].detail}. {harm} Cluster IPs work. "
        "Load balancers that send to this node's ports take it for dead, or lose what they send to it."
    )


CHECK = Check(
    code="KD222",
    slug="node-port-dispatch-missing",
    title="The jump to the NodePort chain is missing",
    severity=Severity.ERROR,
    explanation="""\
Packets to the node's own addresses get to the rules of node ports by the last rule of KUBE-SERVICES:
`-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS` (one rule per address, with `nodePortAddresses`). It is missing.

**What it does to traffic.** All node ports of this node are dead, and with them what load balancers send to it. Cluster IPs
and other addresses work.

**How it is found.** KUBE-SERVICES has rules, and none of them leads to KUBE-NODEPORTS, although Services with node ports and
usable endpoints exist. The evidence is the rule that is the last one now.

**What is left alone.** An empty KUBE-SERVICES (KD212). Addresses that `nodePortAddresses` leaves out. Node ports of Services
without endpoints.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
