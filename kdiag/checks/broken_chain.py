"""KD218: a Service whose chain leads nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kdiag.checks.group_finding import Bundle, bundles_by_service, finding, proxy_hint
from kdiag.checks.group_words import clients, listed, on_nodes, share_text, subject, through
from kdiag.checks.interface import Check
from kdiag.model.dataplane import Disposition, RuleRef
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View
from kdiag.walk.ownership import PROXY_PREFIXES


def run(view: View) -> Iterable[Finding]:
    """One finding per Service port, for all nodes where it is broken alike; many of a node are one."""
    for bundle in bundles_by_service(view, CauseKind.BROKEN_CHAIN):
        yield finding(CHECK, view, bundle, message=_message(view, bundle), hint=proxy_hint(view, bundle.nodes))


def _chains(rule: RuleRef) -> Iterator[str]:
    """The Service's own chains that a step is in or leads to."""
    for chain in (rule.chain, rule.action.removeprefix("jump ").removeprefix("goto ")):
        if chain.startswith(PROXY_PREFIXES):
            yield chain


def _message(view: View, bundle: Bundle) -> str:
    share = share_text(bundle.differences, lambda _, fate: fate.disposition is Disposition.UNTRANSLATED)
    chains = listed(
        dict.fromkeys(chain for group in bundle.groups for rule in group.rules for chain in _chains(rule)), 3
    )
    where = f" ({chains})" if chains else ""
    return (
        f"{on_nodes(bundle)}, {share} to {through(bundle)} of {subject(bundle)} gets into the Service's chains{where} and leaves "
        "them without a translation: the chain, or one that it leads to, is empty or has lost its DNAT rule. This concerns "
        f"{clients(view, bundle)}. These packets keep the Service's address and get lost."
    )


CHECK = Check(
    code="KD218",
    slug="broken-chain",
    title="A Service's chain leads nowhere",
    severity=Severity.ERROR,
    explanation="""\
A dispatch rule sends packets into the chain of a Service (KUBE-SVC-…, KUBE-EXT-…), and they come out of it untranslated: the
chain is empty, the chain of an endpoint (KUBE-SEP-…) has no DNAT rule, or a condition on the way never holds.

**What it does to traffic.** The packets, or the share of them that one endpoint ought to get, keep the Service's address and
get lost. Everything looks right to who sees only that the Service has a chain.

**How it is found.** Packets are followed through the chains to their end. The evidence are the last rules that they met in
the nat table. No age of the rules brings this about, so it is told apart from KD201 and KD223.
Five or more Services of a node with this fault are one finding.

**What is left alone.** Chains that no rule leads to. Ends that are meant: source ranges of a load balancer that do not have
the client, `Local` policies without an endpoint on the node.
""",
    hint="Restart kube-proxy on the node: it writes all of its rules anew.",
    run=run,
    needs_nodes=True,
)
