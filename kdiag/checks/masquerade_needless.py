"""KD216: a Service whose packets lose their source address without need."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint, rules_with_differences
from kdiag.checks.group_words import clients, on_nodes, subject, through
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes and both families; many of a node are one."""
    for bundle in bundles_by_service(view, CauseKind.MASQUERADE_NEEDLESS):
        yield finding(
            CHECK,
            view,
            bundle,
            message=_message(view, bundle),
            hint=proxy_hint(view, bundle.nodes, CHECK.hint),
            rules=rules_with_differences(bundle),
        )


def _message(view: View, bundle: Bundle) -> str:
    return (
        f"{on_nodes(bundle)}, packets to {through(bundle)} of {subject(bundle)} reach the right endpoints, but with the node's "
        f"address as their source although they ought to keep their own. This concerns {clients(view, bundle)}. "
        "Network policies and access lists that go by the client's address do not match, and logs show the node."
    )


CHECK = Check(
    code="KD216",
    slug="masquerade-needless",
    title="A Service's traffic loses its source address",
    severity=Severity.WARNING,
    explanation="""\
Packets for a Service are masqueraded on a node where they ought to keep their source address: those of pods to a cluster IP,
and those from outside to an address with the `Local` policy, whose purpose is just that.

**What it does to traffic.** Connections work. The endpoints see the node's address, so network policies and access lists by
address do not match, and logs show the node.

**How it is found.** Packets are followed with all sources at once; the mark for masquerading is set for some that do not
need it. The evidence is the rule that sets it.
Five or more Services of a node with this fault are one finding.

**What is left alone.** `masqueradeAll`, if the configuration says so. Masquerading by other programs (a CNI for traffic that
leaves the cluster). A wrong range of the pods, which hits all Services (KD215).
""",
    hint="See whether masqueradeAll is set for kube-proxy on this node alone.",
    run=run,
    needs_nodes=True,
)
