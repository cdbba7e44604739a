"""KD221: the policy of a built-in filter chain drops traffic of Services."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles, finding
from kdiag.checks.group_words import clients, families, listed, on_nodes, subject, through
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding for all nodes and families with the same policy."""
    for bundle in bundles(view, CauseKind.FORWARD_POLICY, lambda group: group.detail):
        rule = bundle.groups[0].rules[0]
        yield finding(
            CHECK,
            view,
            bundle,
            message=_message(view, bundle),
            expected="translated packets are let through",
            actual=f"{rule.action} of {rule.table} {rule.chain}",
        )


def _message(view: View, bundle: Bundle) -> str:
    return (
        f"{on_nodes(bundle)} ({families(bundle.families)}), {listed(group.detail for group in bundle.groups)}. It takes "
        "packets for "
        f"{subject(bundle)} ({through(bundle)}) after they were translated as they ought to be. "
        f"This concerns {clients(view, bundle)}. Their connections time out."
    )


CHECK = Check(
    code="KD221",
    slug="forward-policy",
    title="The policy of a filter chain drops the traffic of Services",
    severity=Severity.ERROR,
    explanation="""\
A built-in chain of the filter table, mostly `FORWARD`, has the policy DROP, and no rule in it accepts packets that were
translated for a Service. Docker and hardening scripts set this policy; the network plugin or an administrator has to add rules
that accept traffic from and to pods.

**What it does to traffic.** Packets from pods or from outside are translated as they ought to be and then dropped.
Connections time out. The node itself still reaches its own pods.

**How it is found.** Packets are followed through the filter table to its end; no rule decided, and the policy is DROP. The
evidence is the line that declares the chain.

**What is left alone.** The policy itself: it does no harm as long as rules accept the traffic. Drops by a rule (KD209, KD207).
""",
    hint="iptables -P FORWARD ACCEPT, or rules that accept traffic from and to the pods' range.",
    run=run,
    needs_nodes=True,
)
