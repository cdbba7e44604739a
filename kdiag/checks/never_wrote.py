"""KD211: a node without any rule of kube-proxy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kdiag.checks.group_finding import Bundle, bundles_by_node, finding, proxy_hint
from kdiag.checks.group_words import count, families, on_nodes
from kdiag.checks.interface import Check
from kdiag.model.difference import CauseKind
from kdiag.model.report import Affected, Evidence, Finding, Severity
from kdiag.model.view import NodeView, View


def run(view: View) -> Iterable[Finding]:
    """One finding per node."""
    for bundle in bundles_by_node(view, CauseKind.NEVER_WROTE):
        node = view.node_by_name[bundle.nodes[0]]
        affected = tuple(dict.fromkeys(_expected_places(view, bundle, node)))
        single = _served_family_lines(bundle, node)
        yield finding(
            CHECK,
            view,
            bundle,
            message=_message(bundle, affected, told_single=bool(single)),
            hint=(
                "kube-proxy found no way to program that family when it started: install what its log misses "
                "(ip6tables, or the kernel's modules for it) and restart it."
                if single
                else proxy_hint(view, bundle.nodes)
            ),
            affected=affected,
            rules=[rule for group in bundle.groups for rule in group.rules],
            more_evidence=single,
        )


def _message(bundle: Bundle, affected: tuple[Affected, ...], *, told_single: bool) -> str:
    services = len({place.service for place in affected})
    family = families(bundle.families)
    log = " Its log says that it serves the other family only." if told_single else ""
    return (
        f"{on_nodes(bundle)}, the {family} rules hold no chain of kube-proxy at all: it has not written there since the rules "
        f"were last emptied (the node's start, a flush).{log} Every {family} address of {count(services, 'Service')} is dead "
        "on this node, for pods, for the node itself and for clients outside."
    )


def _expected_places(view: View, bundle: Bundle, node: NodeView) -> Iterator[Affected]:
    """Every Service port that has an address in the families concerned."""
    for frontend, behaviour in (node.expected.behaviours if node.expected else {}).items():
        owner = behaviour.service_port
        if owner is None or frontend.family not in bundle.families:
            continue
        service = view.cluster.service_by_key.get(owner.service)
        for port in service.ports if service is not None else ():
            if port.name == owner.port_name and port.protocol is owner.protocol:
                yield Affected(node=node.name, service=str(owner.service), port=port.label)


def _served_family_lines(bundle: Bundle, node: NodeView) -> tuple[Evidence, ...]:
    """What the proxy's log says about serving one family only, if that is not the one that is empty."""
    log = node.host.log
    if log is None or log.single_family is None or log.single_family in bundle.families:
        return ()
    lines = tuple((line, text) for line, text in log.notes if "family" in text.lower())
    return tuple(Evidence(source=log.source, line=line, text=text.strip()[:300]) for line, text in lines) or (
        Evidence(source=log.source, text=f"serves {log.single_family} only"),
    )


CHECK = Check(
    code="KD211",
    slug="never-wrote",
    title="kube-proxy has written no rules",
    severity=Severity.ERROR,
    explanation="""\
The nat table of a node, of one family or of both, has none of kube-proxy's chains: no KUBE-SERVICES, no KUBE-SVC-….

**What it does to traffic.** No Service works on the node: neither cluster DNS nor the API server's address. If it is one
family, all addresses of that family are dead. Other nodes do not notice, except through node ports of this one.

**How it is found.** The complete dump was read and has no such chain, although the API has Services with addresses of the
family. It is one finding, not one for every Service. The evidence is the dump as a whole, and what kube-proxy's log says
about serving one family only (it looks for `ip6tables` once, when it starts).

**What is left alone.** Nodes where another program does kube-proxy's work or another mode is at work. Dumps that were cut
off or could not be had: those are gaps. Families that no Service has.
""",
    hint="See whether kube-proxy runs on the node, and what its log says.",
    run=run,
    needs_nodes=True,
)
