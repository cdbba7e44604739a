"""KD404: a kube-proxy that is set up otherwise than those of the other nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from kdiag.checks.evidence import from_statement
from kdiag.checks.interface import Check
from kdiag.checks.proxy_mode_mismatch import mode_statements
from kdiag.checks.proxy_release import seen_release
from kdiag.model.cluster import ClusterState
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Affected, Evidence, Finding, Severity
from kdiag.model.view import NodeView, View

DEFAULT_MASQUERADE_BIT = 14


class Setting(Struct, frozen=True, kw_only=True):
    """Something that all nodes should have alike. `read` gives its value in words, None if the node does not say."""

    title: str
    severity: Severity
    read: Callable[[ClusterState, NodeView], str | None]
    effect: str


def run(view: View) -> Iterable[Finding]:
    """One finding per setting that is not alike."""
    nodes = [
        node
        for node in view.nodes
        if node.recorded and node.other_proxy is None and (node.node is None or node.node.os == "linux")
    ]
    for setting in SETTINGS:
        by_value: dict[str, list[NodeView]] = defaultdict(list)
        for node in nodes:
            value = setting.read(view.cluster, node)
            if value is not None:
                by_value[value].append(node)
        if len(by_value) > 1:
            yield _finding(view.cluster, setting, by_value)


def _version(_: ClusterState, node: NodeView) -> str | None:
    release = seen_release(node)
    return f"{release[0]}.{release[1]}" if release is not None else None


def _mode(state: ClusterState, node: NodeView) -> str | None:
    """The mode of a node that is of one mind about it; KD403 tells of the others."""
    modes = {statement.mode for statement in mode_statements(state, node)}
    return next(iter(modes)) if len(modes) == 1 else None


def _masquerade_all(_: ClusterState, node: NodeView) -> str | None:
    return str(bool(node.config.masquerade_all)).lower() if node.config is not None else None


def _masquerade_bit(_: ClusterState, node: NodeView) -> str | None:
    if node.config is None:
        return None
    bit = node.config.masquerade_bit
    return str(DEFAULT_MASQUERADE_BIT if bit is None else bit)


def _node_port_addresses(_: ClusterState, node: NodeView) -> str | None:
    """Sorted, as the order means nothing.

    Unset is all addresses, and `primary` in nftables mode, where /configz shows the default and the ConfigMap does not
    (kube-proxy 1.31 and later).
    """
    if node.config is None:
        return None
    stated = set(node.config.node_port_addresses or ())
    nftables = ProxyMode.NFTABLES in (node.config.mode, node.mode)
    if stated <= ({"primary"} if nftables else {"0.0.0.0/0", "::/0"}):
        return "the default"
    return ", ".join(sorted(stated))


SETTINGS = (
    Setting(
        title="kube-proxy release",
        severity=Severity.INFO,
        read=_version,
        effect="That is normal during an upgrade; kube-proxy may be up to three minor releases older than the API server.",
    ),
    Setting(
        title="proxy mode",
        severity=Severity.WARNING,
        read=_mode,
        effect="Node ports, Local policies and Services without endpoints behave differently from mode to mode.",
    ),
    Setting(
        title="masqueradeAll",
        severity=Severity.WARNING,
        read=_masquerade_all,
        effect="Pods behind a Service see the client's address or the node's, depending on the node.",
    ),
    Setting(
        title="masqueradeBit",
        severity=Severity.WARNING,
        read=_masquerade_bit,
        effect="Other programs on the nodes that know the mark (a CNI, the kubelet) fit only one of the values.",
    ),
    Setting(
        title="nodePortAddresses",
        severity=Severity.WARNING,
        read=_node_port_addresses,
        effect="A node port answers on other addresses of one node than of another.",
    ),
)
"""What is compared. Not the cluster CIDR: what it does to traffic is judged from the rules (KD215)."""


def _finding(state: ClusterState, setting: Setting, by_value: Mapping[str, list[NodeView]]) -> Finding:
    ordered = sorted(by_value.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    usual, holders = ordered[0]
    others = ordered[1:]
    # With as many on one side as on the other nobody is odd.
    divided = len(others[0][1]) == len(holders)
    odd = [node for _, nodes in (ordered if divided else others) for node in nodes]
    listed = "; ".join(f"{value} on {_names(nodes)}" for value, nodes in ordered)
    return CHECK.finding(
        severity=setting.severity,
        title=f"The {setting.title} is not the same on all nodes",
        node=odd[0].name if len(odd) == 1 else None,
        expected=f"{setting.title} {usual} everywhere" if not divided else f"one {setting.title}",
        actual="; ".join(f"{value} on {_names(nodes)}" for value, nodes in (ordered if divided else others)),
        message=f"The {setting.title} is not the same on all nodes: {listed}. {setting.effect}",
        affected=[Affected(node=node.name) for node in odd],
        evidence=[line for node in odd[:10] for line in _evidence(state, setting, node)],
    )


def _names(nodes: Iterable[NodeView]) -> str:
    found = sorted(node.name for node in nodes)
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def _evidence(state: ClusterState, setting: Setting, node: NodeView) -> tuple[Evidence, ...]:
    text = f"{node.name}: {setting.title} {setting.read(state, node)}"
    if setting.read is _mode:
        return tuple(line for statement in mode_statements(state, node)[:1] for line in statement.evidence)
    if setting.read is _version:
        return from_statement(state, node.version_source, text)
    return from_statement(state, node.config.source, text) if node.config is not None else ()


CHECK = Check(
    code="KD404",
    slug="proxy-unlike-peers",
    title="kube-proxy is set up differently on some nodes",
    severity=Severity.WARNING,
    explanation="""\
All nodes of a cluster normally run kube-proxy in one release, one mode and with one set of settings. Here some nodes differ
from the majority in the minor release, the mode, `masqueradeAll`, `masqueradeBit` or `nodePortAddresses`.

**What it does to traffic.** The same Service behaves differently depending on the node that a connection enters by.

**How it is found.** Effective settings (what kube-proxy itself says first, then flags, files and the ConfigMap) are
compared over all recorded Linux nodes, defaults filled in. Where no value has a majority, all are listed. A different
release is worth knowing (info), since every upgrade passes through it.

**What is left alone.** Nodes that were not recorded or do not say. Nodes whose own mode is in doubt (KD403). Cluster CIDRs
and local detection, which may differ by node and are judged from the rules (KD215).
""",
    hint="Compare curl 127.0.0.1:10249/configz on the nodes, and restart kube-proxy where it still runs with old settings.",
    run=run,
    needs_nodes=True,
)
