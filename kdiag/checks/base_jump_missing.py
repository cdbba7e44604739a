"""KD210: a jump from a built-in chain into kube-proxy's chains that is missing."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_node, details, finding, proxy_hint
from kdiag.checks.group_words import clients, count, families, on_nodes
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind, DifferenceGroup, Symptom
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per node and family; one for both families if they lack the same jumps."""
    for bundle in bundles_by_node(view, CauseKind.BASE_JUMP, by_detail=True):
        yield finding(
            CHECK,
            view,
            bundle,
            severity=min((severity_of(group) for group in bundle.groups), key=lambda item: item.rank),
            message=_message(view, bundle),
            hint=proxy_hint(view, bundle.nodes, CHECK.hint),
        )


def severity_of(group: DifferenceGroup) -> Severity:
    """A warning if nothing suffers, or only refusals are missing; load-balancer source ranges left open are an error."""
    mild = all(item.symptom is Symptom.NOT_REFUSED for item in group.differences)
    unguarded = bool(group.differences) and "KUBE-PROXY-FIREWALL" in group.expected
    return Severity.WARNING if mild and not unguarded else Severity.ERROR


def _message(view: View, bundle: Bundle) -> str:
    lines = [f"- {families(found)}: {detail}" for detail, found in details(bundle)]
    harm = (
        f"{count(len(bundle.subjects), 'Service')} on this node suffer{'s' if len(bundle.subjects) == 1 else ''} from it, "
        f"for {clients(view, bundle)}."
        if bundle.differences
        else "No Service was found to suffer from it now."
    )
    return (
        f"{on_nodes(bundle)}, packets do not get into kube-proxy's chains from everywhere:\n"
        + "\n".join(lines)
        + f"\n{harm}"
    )


CHECK = Check(
    code="KD210",
    slug="base-jump-missing",
    title="A jump into kube-proxy's chains is missing",
    severity=Severity.ERROR,
    explanation="""\
kube-proxy hooks its chains into the built-in ones: `PREROUTING` and `OUTPUT` of the nat table jump to KUBE-SERVICES,
`POSTROUTING` to KUBE-POSTROUTING, `FORWARD`, `INPUT` and `OUTPUT` of the filter table to those that refuse and let through.
One of these jumps is missing.

**What it does to traffic.** Without the one in `PREROUTING` no Service works for pods and outside clients; without the one
in `OUTPUT` none works for the node itself; without the one in `POSTROUTING` nothing is masqueraded. All Services suffer at
once, though each of their chains is intact. Reloads of firewalls flush built-in chains.

**How it is found.** The built-in chains are searched for the jumps that this release of kube-proxy writes; the Services
whose packets go wrong because of it are listed. It is an error if traffic breaks, and a warning if only refusals of
Services without endpoints are missing or nothing was found to suffer.

**What is left alone.** Jumps that the release does not write. Where they stand in the chain: what a rule before them does is
told as KD209. Nodes without any chain of kube-proxy (KD211).
""",
    hint="Find out what flushed the chain: a firewall reload (firewalld, nftables.service), a script, another network plugin.",
    run=run,
    needs_nodes=True,
)
