"""KD217: a node whose Service rules are in both backends of iptables."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.group_finding import Bundle, bundles_by_node, finding, rules_of, rules_with_differences
from kdiag.checks.group_words import count, families, lines_by_service, listed, on_nodes
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per node."""
    for bundle in bundles_by_node(view, CauseKind.TWO_BACKENDS):
        yield finding(
            CHECK,
            view,
            bundle,
            message=_message(view, bundle),
            rules=(*rules_of(bundle), *rules_with_differences(bundle)),
        )


def _message(view: View, bundle: Bundle) -> str:
    sources = listed(dict.fromkeys(rule.source for item in bundle.differences for rule in item.rules))
    if bundle.differences:
        walked = (
            f"The rules of {sources or 'the first'} were compared with the API, and differ at "
            f"{count(len(bundle.subjects), 'Service')}; the other dump was not compared:\n{lines_by_service(view, bundle)}"
        )
    else:
        first = listed(dict.fromkeys(group.rules[0].source for group in bundle.groups if group.rules))
        walked = f"The rules of {first or 'one of them'} agree with the API; the other dump was not compared."
    return (
        f"{on_nodes(bundle)}, two sets of {families(bundle.families)} Service rules are at work: "
        f"{listed(group.detail for group in bundle.groups)}. So neither of them can be trusted, and the one that is not kept "
        f"up to date may be the one that decides.\n{walked}"
    )


CHECK = Check(
    code="KD217",
    slug="two-backends",
    title="Both iptables backends hold Service rules",
    severity=Severity.ERROR,
    explanation="""\
iptables has two backends in the kernel, `legacy` and `nf_tables`, each with tables of its own. On a node both hold rules
that lead to KUBE-SERVICES: kube-proxy (or what started it) changed from one to the other, after an upgrade of the system or
of its image, and left the old rules behind.

**What it does to traffic.** The kernel asks both. The one whose hooks were registered last decides the translation, and no
dump shows which that is. The old copy is never updated, so that packets may go to pods that left long ago, and it may change
with the next reboot.

**How it is found.** `iptables-save` and `iptables-legacy-save` are both read; both have a jump to KUBE-SERVICES in a built-in
chain. One of them is compared with the API, and its differences are listed as such: they say that this dump is out of date,
not that its rules decide. The Services that they concern are listed as affected.

**What is left alone.** Rules of others (Docker, a CNI) in the second backend, and chains of kube-proxy that nothing leads
to. Nodes of which only one backend was recorded.
""",
    hint=(
        "Empty the backend that kube-proxy does not use (iptables-legacy -t nat -F KUBE-SERVICES and the like, or kube-proxy "
        "--cleanup with the old binaries), or restart the node. iptables -V in kube-proxy's container tells which one it uses."
    ),
    run=run,
    needs_nodes=True,
)
