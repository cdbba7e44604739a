"""KD219: a Service whose session affinity is not the one it asks for."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint, rules_with_differences
from kdiag.checks.group_words import listed, on_nodes, subject, through
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes and both families; many of a node are one."""
    for bundle in bundles_by_service(view, CauseKind.AFFINITY):
        yield finding(
            CHECK,
            view,
            bundle,
            message=_message(bundle),
            hint=proxy_hint(view, bundle.nodes),
            rules=rules_with_differences(bundle),
        )


def _message(bundle: Bundle) -> str:
    return (
        f"{on_nodes(bundle)}, packets to {through(bundle)} of {subject(bundle)} reach the right endpoints, with "
        f"{listed((item.actual for item in bundle.differences), 3)} instead of "
        f"{listed((item.expected for item in bundle.differences), 3)}. "
        "Clients that come back are sent to another endpoint, or stay with one, against what the Service asks for."
    )


CHECK = Check(
    code="KD219",
    slug="affinity",
    title="Session affinity differs from the Service's",
    severity=Severity.WARNING,
    explanation="""\
A Service with `sessionAffinity: ClientIP` remembers where a client was sent (`-m recent` on the chains of its endpoints, with
the time-out in seconds). On a node the rules have none, have one although the Service asks for none, or have another time-out.

**What it does to traffic.** Every connection reaches an endpoint. Sessions that live in one pod are lost when the client comes
back to another one; or a client sticks to one pod although the load was to be spread.

**How it is found.** The `recent` matches on the way to an endpoint are compared with the Service's
`sessionAffinityConfig.clientIP.timeoutSeconds` (10800 if it is not given).
Five or more Services of a node with this fault are one finding.

**What is left alone.** Which endpoint a client is really remembered at: only the first packet of a new client is judged.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
