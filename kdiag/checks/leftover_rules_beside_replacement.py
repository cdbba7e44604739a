"""KD224: rules of kube-proxy on a node where another product does its work."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct

from kdiag.checks.evidence import from_host
from kdiag.checks.group_words import count, listed
from kdiag.checks.interface import Check
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Evidence, Finding, Severity
from kdiag.model.rules import Rule, Ruleset
from kdiag.model.view import NodeView, View
from kdiag.walk.ownership import NFT_TABLE, PROXY_PREFIXES

if TYPE_CHECKING:
    from kdiag.model.nft import NftRule, NftRuleset

CHAINS = frozenset(
    "KUBE-SERVICES KUBE-EXTERNAL-SERVICES KUBE-NODEPORTS KUBE-FORWARD KUBE-PROXY-FIREWALL "
    "KUBE-PORTALS-CONTAINER KUBE-PORTALS-HOST KUBE-NODEPORT-CONTAINER KUBE-NODEPORT-HOST KUBE-NODEPORT-NON-LOCAL "
    "KUBE-NODE-PORT KUBE-LOAD-BALANCER KUBE-SOURCE-RANGES-FIREWALL KUBE-IPVS-FILTER KUBE-IPVS-OUT-FILTER".split()
)
"""The chains that kube-proxy alone writes, in all of its modes. What an old kubelet writes too is not among them."""

IPVS_DEVICE = "kube-ipvs0"
_MODES = frozenset(str(mode) for mode in ProxyMode)
_SHOWN = 6


def run(view: View) -> Iterable[Finding]:
    """One finding per node."""
    for node in view.nodes:
        if node.other_proxy is not None:
            yield from _left_on(view, node, node.other_proxy)


class _Left(Struct, frozen=True, kw_only=True):
    """What one dump holds of kube-proxy: its chains that have rules, by their first rule, and what leads into them."""

    chains: tuple[Evidence, ...]
    hooks: tuple[tuple[str, Evidence], ...]
    """Where packets come from (`PREROUTING (nat)`), and the rule that sends them."""


def _left_on(view: View, node: NodeView, product: str) -> Iterable[Finding]:
    left = [
        *(_in_iptables(item) for item in node.rulesets),
        *(_in_nft(item) for item in [node.nft] if item is not None),
    ]
    chains = [item for part in left for item in part.chains]
    hooks = [item for part in left for item in part.hooks]
    addresses = sum(1 for item in node.host.addresses or () if item.interface == IPVS_DEVICE)
    if not chains and not addresses:
        return
    runs = _running(view, node)
    there = [f"{count(len(chains), 'chain')} with rules of kube-proxy"] if chains else []
    evidence = [item for _, item in hooks[:_SHOWN]] or chains[:1]
    if addresses:
        there.append(f"{addresses} address{'' if addresses == 1 else 'es'} on {IPVS_DEVICE}")
        evidence += from_host(node, "addresses", there[-1])
    if hooks:
        reach = f"Packets still get into them, from {listed(place for place, _ in hooks)}."
    elif addresses:
        reach = f"The node still takes packets to the addresses on {IPVS_DEVICE} for itself."
    else:
        reach = "No built-in chain leads into them, so no packet meets them."
    caught = bool(hooks or addresses)
    if runs is not None:
        evidence += [runs] if runs.source else []
        state = "kube-proxy runs there and keeps them up to date: two proxies are at work."
    elif caught:
        state = (
            "kube-proxy was not seen to run there: nobody keeps them up to date, and whatever "
            f"{product} does not translate first goes where it went when kube-proxy stopped."
        )
    else:
        state = "kube-proxy was not seen to run there."
    yield CHECK.finding(
        node=node.name,
        severity=Severity.WARNING if caught and runs is None else Severity.INFO,
        message=f"{product} does kube-proxy's work on {node.name}, but {listed(there)} are there. {reach} {state}",
        expected=f"no rules of kube-proxy beside {product}",
        actual=listed(there),
        evidence=evidence,
    )


def _is_ours(name: str) -> bool:
    return name in CHAINS or name.startswith(PROXY_PREFIXES)


def _in_iptables(ruleset: Ruleset) -> _Left:
    chains: list[Evidence] = []
    hooks: list[tuple[str, Evidence]] = []
    for table in ruleset.tables.values():
        filled = {chain.name for chain in table.chains.values() if chain.rules and _is_ours(chain.name)}
        chains += [_shown(ruleset, table.chains[name].rules[0]) for name in table.chains if name in filled]
        hooks += [
            (f"{chain.name} ({table.name})", _shown(ruleset, rule))
            for chain in table.chains.values()
            if chain.policy is not None
            for rule in chain.rules
            if rule.target in filled
        ]
    return _Left(chains=tuple(chains), hooks=tuple(hooks))


def _in_nft(ruleset: NftRuleset) -> _Left:
    """In nftables mode all that is kube-proxy's stands in tables of its own, whose chains are hooked in themselves."""
    chains: list[Evidence] = []
    hooks: list[tuple[str, Evidence]] = []
    for family in ("ip", "ip6"):
        table = ruleset.table(family, NFT_TABLE)
        for chain in table.chains.values() if table else ():
            if chain.rules:
                chains.append(_shown(ruleset, chain.rules[0]))
                if chain.hook is not None and table is not None and "dormant" not in table.flags:
                    hooks.append((f"{chain.hook.hook} (table {family} {NFT_TABLE})", chains[-1]))
    return _Left(chains=tuple(chains), hooks=tuple(hooks))


def _shown(ruleset: Ruleset | NftRuleset, rule: Rule | NftRule) -> Evidence:
    return Evidence(source=ruleset.source, line=rule.line, text=rule.text)


def _running(view: View, node: NodeView) -> Evidence | None:
    """What shows that kube-proxy runs on the node; an answer at its health port does not, Cilium gives that too."""
    pod = node.proxy_pod
    if pod is not None and pod.phase == "Running":
        return Evidence(source=view.cluster.sources.get("pods", ""), text=f"{pod.key}: {pod.phase}")
    for process in node.host.processes or ():
        if process.argv and PurePosixPath(process.argv[0]).name == "kube-proxy":
            return Evidence(source=process.source, line=process.line, text=" ".join(process.argv))
    answer = (node.host.proxy_mode_answer or "").strip()
    if answer.lower() in _MODES:
        return Evidence(source=node.host.sources.get("proxy_mode", ""), text=answer)
    return None


CHECK = Check(
    code="KD224",
    slug="leftover-rules-beside-replacement",
    title="Rules of kube-proxy beside the product that replaces it",
    severity=Severity.WARNING,
    explanation="""\
On a node another product does kube-proxy's work (Cilium, Calico in eBPF mode, Antrea with proxyAll, OVN-Kubernetes,
kube-router), and rules of kube-proxy are there too.

**What it does to traffic.** As long as the product translates every packet first, nothing. What it leaves alone (node ports
on an interface that it does not watch, a protocol that it does not know, traffic of the node itself) meets the old rules and
goes to pods that left long ago, or is masqueraded without need. Addresses on `kube-ipvs0` make the node take packets for
itself that ought to leave it.

**How it is found.** Another product was recognised on the node, and chains that kube-proxy alone writes (or those of the
nftables tables `kube-proxy`) hold rules, or `kube-ipvs0` has addresses. It is a warning if packets still get there; it is
told as information if none do, or if kube-proxy is seen to run there and so keeps the rules right.

**What is left alone.** Empty chains, and the chains that the kubelet writes (KUBE-FIREWALL, KUBE-MARK-MASQ, KUBE-MARK-DROP,
KUBE-POSTROUTING, the canaries). Chains of others whose names look alike (KUBE-ROUTER-*, KUBE-NWPLCY-*, KUBE-POD-FW-*).
Whether the rules are right is not examined.
""",
    hint=(
        "If kube-proxy is not meant to come back, run kube-proxy --cleanup on the node (with the release that wrote the "
        "rules) or restart the node; if it still runs, delete its DaemonSet first."
    ),
    run=run,
    needs_nodes=True,
)
