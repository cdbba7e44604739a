"""KD209: a rule that is not kube-proxy's and decides what happens to the traffic of Services."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable

from kdiag.checks.group_finding import Bundle, bundles, by_fault, finding, port_of, service_of
from kdiag.checks.group_words import LINES_LIMIT, clients, listed, on_nodes, subject, through
from kdiag.checks.interface import Check
from kdiag.model.dataplane import RuleRef
from kdiag.model.difference import CauseKind, DifferenceGroup, Symptom
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View

POLICY_ENGINES = (
    ("cali-", "Calico"),
    ("KUBE-POD-FW-", "kube-router"),
    ("KUBE-NWPLCY-", "kube-router"),
    ("KUBE-ROUTER-", "kube-router"),
    ("WEAVE-NPC", "Weave Net"),
    ("CILIUM_", "Cilium"),
    ("ANTREA-", "Antrea"),
    ("OVN-", "OVN-Kubernetes"),
    ("AZURE-NPM", "Azure NPM"),
    ("AWS-", "the AWS VPC CNI"),
)
"""How the chains of programs that enforce network policies begin; kube-router's are those of k3s too."""

WEAVE_DEFAULT = r"-A FORWARD -o weave -j (?:DROP|REJECT)\b"
"""What Weave Net drops when no policy of its chains has let it through."""

SPOOFING = r"-A \S+ -s \S+ ! -i \S+ -j (?:DROP|REJECT)\b"
"""A rule against packets that pretend to come from a network behind an interface and come in by another one."""

MILD = frozenset({Symptom.MASQUERADE_NEEDLESS, Symptom.AFFINITY, Symptom.UNBALANCED, Symptom.NOT_REFUSED})
"""What a rule may do without breaking a connection that ought to work."""


def run(view: View) -> Iterable[Finding]:
    """One finding per rule; the rules of one policy engine are one finding for the whole cluster."""
    for bundle in bundles(view, CauseKind.FOREIGN_RULE, _key):
        engine = _engine(bundle.groups[0])
        if engine is not None:
            yield finding(
                CHECK,
                view,
                bundle,
                severity=Severity.INFO,
                title=f"A network policy of {engine} takes traffic of Services",
                message=_policy_message(view, bundle, engine),
                hint="Nothing is wrong if the policy is meant so: kubectl get networkpolicies -A.",
                expected="",
                actual="",
            )
            continue
        several = len(bundle.subjects) > 1
        yield finding(
            CHECK,
            view,
            bundle,
            severity=_severity(bundle),
            message=_message(view, bundle),
            expected="kube-proxy's rules decide" if several else None,
            actual=_rule(bundle.groups[0]).action if several else None,
        )


def _rule(group: DifferenceGroup) -> RuleRef:
    """The deciding rule; a group of this cause always has it."""
    return group.rules[0]


def _engine(group: DifferenceGroup) -> str | None:
    """The policy engine whose chain the rule stands in. What is translated in nat is nobody's policy."""
    rule = _rule(group)
    if rule.table == "nat":
        return None
    if re.match(WEAVE_DEFAULT, rule.text):
        return "Weave Net"
    return next((engine for beginning, engine in POLICY_ENGINES if rule.chain.startswith(beginning)), None)


def _key(group: DifferenceGroup) -> Hashable:
    engine = _engine(group)
    if engine is not None:
        return engine
    # The same rule on several nodes, or in both families, is one rule that somebody spread.
    return _rule(group).text, _rule(group).table, by_fault(group)


def _severity(bundle: Bundle) -> Severity:
    """Info where all that is lost is the refusal of Services without endpoints: network plugins accept all of their pods'
    traffic in a rule of their own, which may stand before kube-proxy's. Info too for a rule against spoofed sources: nobody
    who really has such an address comes in that way.
    """
    if re.match(SPOOFING, _rule(bundle.groups[0]).text):
        return Severity.INFO
    symptoms = {item.symptom for item in bundle.differences}
    if symptoms == {Symptom.NOT_REFUSED}:
        return Severity.INFO
    return Severity.WARNING if symptoms <= MILD else Severity.ERROR


def _message(view: View, bundle: Bundle) -> str:
    rule = _rule(bundle.groups[0])
    return (
        f"{on_nodes(bundle)}, a rule that is not kube-proxy's decides what happens to packets for {subject(bundle)} "
        f"({through(bundle)}): {rule.action or rule.text} in chain {rule.chain} of table {rule.table}. "
        f"It hits {clients(view, bundle)}. "
        f"Expected: {listed((item.expected for item in bundle.differences), 3)}. "
        f"Happens: {listed((item.actual for item in bundle.differences), 3)}."
    )


def _policy_message(view: View, bundle: Bundle, engine: str) -> str:
    lines = []
    for group in bundle.groups:
        rule = _rule(group)
        places = listed(
            dict.fromkeys(f"{service_of(item) or item.frontend.label} {port_of(item)}" for item in group.differences), 3
        )
        lines.append(
            f"- {group.node}: {rule.action or rule.text} in chain {rule.chain} ({rule.source}:{rule.line}) for {places}, "
            f"from {clients(view, Bundle(groups=(group,)))}"
        )
    if len(lines) > LINES_LIMIT:
        lines = [*lines[:LINES_LIMIT], f"- and {len(lines) - LINES_LIMIT} more"]
    return (
        f"{on_nodes(bundle)}, rules in chains of {engine} decide over traffic of {subject(bundle)} that kube-proxy would let "
        "through. A network policy is meant to drop what it does not allow, so this is worth knowing only where somebody "
        "misses that traffic:\n" + "\n".join(lines)
    )


CHECK = Check(
    code="KD209",
    slug="foreign-rule",
    title="A rule that is not kube-proxy's takes the traffic of a Service",
    severity=Severity.ERROR,
    explanation="""\
A rule of another program, or one that somebody entered by hand, catches packets for a Service before kube-proxy's rules do,
or takes them away afterwards: a DNAT or ACCEPT in `PREROUTING` or `OUTPUT`, a DROP or REJECT in a filter chain, a rule in
`POSTROUTING` that ends the chain before the masquerade.

**What it does to traffic.** The clients that the rule matches reach another program, or nothing, while everybody else is
served. kube-proxy's own chains look right.

**How it is found.** Packets are followed from the netfilter hook on, not from KUBE-SERVICES, and all sources at once: a rule
that takes the packets of one pod is found like one that takes all. The first rule that is not kube-proxy's and decides is
the evidence; the message names the clients that it hits.

**What is left alone.** Rules that only count, log or mark, and those that other programs need for their own addresses (host
ports, masquerading by a CNI). A rule in a chain of a network policy engine (`cali-…`, `KUBE-POD-FW-…`, `KUBE-NWPLCY-…`,
`WEAVE-NPC…`, `CILIUM_…`, `ANTREA-…`, `OVN-…`, `AZURE-NPM…`, `AWS-…`) is told as info only: policies are meant to drop. So is
a rule that accepts packets before kube-proxy could refuse them for want of endpoints, and one that drops packets with the
sources of a network that is behind another interface (`-s 100.64.0.0/10 ! -i tailscale0 -j DROP`).
""",
    hint="Find out who wrote the rule (a host-port plugin, a firewall, a script), and delete it or narrow it down.",
    run=run,
    needs_nodes=True,
)
