"""KD223: a node whose rules no longer follow the API."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_node, finding, proxy_hint, rules_with_differences
from kdiag.checks.group_words import count, families, lines_by_service, on_nodes
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per node, for both families."""
    for bundle in bundles_by_node(view, CauseKind.STALE_NODE):
        yield finding(
            CHECK,
            view,
            bundle,
            message=_message(view, bundle),
            hint=proxy_hint(view, bundle.nodes),
            rules=rules_with_differences(bundle),
        )


def _message(view: View, bundle: Bundle) -> str:
    return (
        f"{on_nodes(bundle)}, the {families(bundle.families)} rules of {count(len(bundle.subjects), 'Service')} are out of "
        "date: what the API has since changed has not reached them. The node seems not to follow the API any more, and "
        "drifts further with every change:\n"
        f"{lines_by_service(view, bundle)}"
    )


CHECK = Check(
    code="KD223",
    slug="stale-node",
    title="The node stopped following the API",
    severity=Severity.ERROR,
    explanation="""\
Several Services of a node are out of date at once: addresses that are not programmed, addresses that no Service has any more,
endpoints that are missing or gone. Other faults do not bring that about together; a kube-proxy that is dead, hangs, has lost
its watch, or cannot load its rules does.

**What it does to traffic.** Whatever changed since then is wrong on this node: connections go to pods that are gone, new
Services do not work. What did not change works, so that the node seems healthy, and it gets worse with each change.

**How it is found.** The differences of a node that look like age are counted by Service; from two Services on they are one
finding. The message says for each of them what is out of date; the evidence has one rule for each first.

**What is left alone.** A single Service that is out of date: that is told as KD201 to KD208. What changed between the two
readings of the API, before and after the node was read. Faults that age does not explain (KD205, KD218, …) stand apart.
""",
    hint="Find out why kube-proxy stopped writing rules, and restart it.",
    run=run,
    needs_nodes=True,
)
