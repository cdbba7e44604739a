"""KD207: traffic that a node refuses although the Service has endpoints."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint
from kdiag.checks.group_words import clients, listed, on_nodes, share_text, subject, through
from kdiag.checks.interface import Check
from kdiag.model.dataplane import Disposition
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View

REFUSALS = frozenset({Disposition.REJECTED, Disposition.DROPPED, Disposition.UNKNOWN})


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes that refuse it in the same way."""
    for bundle in bundles_by_service(view, CauseKind.REFUSED):
        yield finding(CHECK, view, bundle, message=_message(view, bundle), hint=proxy_hint(view, bundle.nodes))


def _message(view: View, bundle: Bundle) -> str:
    share = share_text(bundle.differences, lambda _, fate: fate.disposition in REFUSALS)
    return (
        f"{on_nodes(bundle)}, {share} to {through(bundle)} of {subject(bundle)} is refused or dropped "
        f"({listed((item.actual for item in bundle.differences), 3)}), where the API asks for: "
        f"{listed((item.expected for item in bundle.differences), 3)}. This concerns {clients(view, bundle)}."
    )


CHECK = Check(
    code="KD207",
    slug="refused",
    title="Traffic is refused although the Service has endpoints",
    severity=Severity.ERROR,
    explanation="""\
kube-proxy refuses packets to a Service port that has no usable endpoint (REJECT), and drops them where a `Local` policy finds
none on the node (DROP). Here a node does so although the API has a usable endpoint for it.

**What it does to traffic.** Clients get "connection refused" at once, or wait until they time out.

**How it is found.** Packets are followed through the nat and filter tables to their end; they end in a REJECT or DROP of
kube-proxy's chains. The evidence is that rule.

**What is left alone.** Refusals by rules that are not kube-proxy's (KD209) and by the policy of a built-in chain (KD221).
Source ranges of load balancers (KD220). Services whose endpoints came while the node was read.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
