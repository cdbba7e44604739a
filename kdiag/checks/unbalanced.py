"""KD206: endpoints that do not get equal shares of the traffic."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint
from kdiag.checks.group_words import clients, listed, on_nodes, subject, through
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes with the same shares; many of a node are one."""
    for bundle in bundles_by_service(view, CauseKind.UNBALANCED):
        yield finding(CHECK, view, bundle, message=_message(view, bundle), hint=proxy_hint(view, bundle.nodes))


def _message(view: View, bundle: Bundle) -> str:
    return (
        f"{on_nodes(bundle)}, the endpoints of {subject(bundle)} do not get equal shares of the new connections: "
        f"{listed((item.actual for item in bundle.differences), 3)}. This concerns packets to {through(bundle)}, "
        f"from {clients(view, bundle)}. Every endpoint is still reached, and some carry more load than the others."
    )


CHECK = Check(
    code="KD206",
    slug="unbalanced",
    title="The endpoints do not get equal shares",
    severity=Severity.WARNING,
    explanation="""\
kube-proxy gives each endpoint of a Service the same share of the new connections: of n rules the first takes 1/n, the second
1/(n-1) of the rest, and so on. The probabilities on a node do not come to that.

**What it does to traffic.** All endpoints are reached; some of them carry more load than their share, which shows as uneven
load or as slow answers from a few pods.

**How it is found.** The shares are computed from the `-m statistic --mode random --probability` values on the way of a
packet. A tolerance of 0.0001 allows for how the kernel and older releases round them.
Five or more Services of a node with this fault are one finding.

**What is left alone.** An endpoint that gets nothing at all: that is KD203. Differences between nodes that come from traffic
policies or topology hints. Unequal numbers of connections in practice: with session affinity, or with few clients, they are
to be expected.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
