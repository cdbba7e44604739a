"""KD214: a Service whose packets keep a source address that has to be rewritten."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import MANY, Bundle, bundles_by_service, finding, proxy_hint, rules_with_differences
from kdiag.checks.group_words import clients, on_nodes, subject, through
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View

MANY_HINT = "So many Services at once point at kube-proxy's clusterCIDR or detectLocalMode on the node: compare with the others."


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes and both families; many of a node are one."""
    for bundle in bundles_by_service(view, CauseKind.MASQUERADE_MISSING):
        yield finding(
            CHECK,
            view,
            bundle,
            message=_message(view, bundle),
            hint=proxy_hint(view, bundle.nodes, MANY_HINT if len(bundle.subjects) >= MANY else ""),
            rules=rules_with_differences(bundle),
        )


def _message(view: View, bundle: Bundle) -> str:
    return (
        f"{on_nodes(bundle)}, packets to {through(bundle)} of {subject(bundle)} reach the right endpoints, but keep their source "
        f"address where it has to be rewritten. This concerns {clients(view, bundle)}. The endpoint answers the client past "
        "this node, the client does not know the answer, and the connection hangs."
    )


CHECK = Check(
    code="KD214",
    slug="masquerade-missing",
    title="A Service's traffic is not masqueraded where it has to be",
    severity=Severity.ERROR,
    explanation="""\
Some packets for a Service need a new source address, or the answer does not come back the same way: those from outside the
pods' range to a cluster IP, those through node ports and load-balancer addresses with the `Cluster` policy, and those of a pod
that reaches itself (hairpin). For one Service the rules do not mark them.

**What it does to traffic.** The endpoint answers the client directly; the client does not know the answer, and the connection
hangs until it times out.

**How it is found.** Packets are followed with all sources at once; for some of them the mark for masquerading is not set on
the way to the endpoint. The evidence is the last rule of kube-proxy that they met before they left.
Five or more Services of a node with this fault are one finding.

**What is left alone.** `Local` policies, which keep the source address on purpose. Masquerading by another program: it serves
as well. A fault of the masquerade itself, which hits all Services (KD213), and a wrong range of the pods (KD215).
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
