"""KD208: traffic that a node lets through although no endpoint is usable."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint
from kdiag.checks.group_words import clients, listed, on_nodes, subject, through
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes that lack the same refusal."""
    for bundle in bundles_by_service(view, CauseKind.NOT_REFUSED):
        yield finding(CHECK, view, bundle, message=_message(view, bundle), hint=proxy_hint(view, bundle.nodes))


def _message(view: View, bundle: Bundle) -> str:
    return (
        f"{on_nodes(bundle)}, packets to {through(bundle)} of {subject(bundle)} ought to be "
        f"{listed((item.expected for item in bundle.differences), 3)}, because no endpoint is usable there, and are not: "
        f"{listed((item.actual for item in bundle.differences), 3)}. This concerns {clients(view, bundle)}. "
        "The Service does not work in either case, but its clients wait for a time-out instead of an answer at once, and "
        "packets leave with the Service's address as their destination."
    )


CHECK = Check(
    code="KD208",
    slug="not-refused",
    title="Traffic is not refused although no endpoint is usable",
    severity=Severity.WARNING,
    explanation="""\
A Service port without a usable endpoint is to be refused (REJECT in the filter table), or dropped where a `Local` policy
finds no endpoint on the node. The rules of a node do neither.

**What it does to traffic.** The Service has no endpoints, so nothing works in any case. But clients wait until they time out
instead of being refused at once, and the packets leave the node with the Service's address as their destination. With an
address of a load balancer they can circle between the node and the load balancer.

**How it is found.** Packets are followed through the nat and filter tables; they come out untranslated.

**What is left alone.** Nodes whose filter table was not recorded: there it cannot be told. Node ports without endpoints on
releases that do not refuse them from everywhere. Services whose last endpoint went while the node was read.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
