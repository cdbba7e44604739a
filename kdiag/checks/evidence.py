"""Evidence for what checks read from the API and from what nodes printed."""

from __future__ import annotations

from kdiag.model.cluster import ClusterState
from kdiag.model.report import Evidence
from kdiag.model.view import NodeView


def from_api(state: ClusterState, kind: str, text: str) -> tuple[Evidence, ...]:
    """An object of a list that the API gave (`kind` as in ClusterState.sources); nothing if its file is not known."""
    source = state.sources.get(kind)
    return (Evidence(source=source, text=text),) if source else ()


def from_host(node: NodeView, probe: str, text: str = "", *, line: int = 0) -> tuple[Evidence, ...]:
    """A line that a node printed (`probe` as in HostFacts.sources); nothing if its file is not known."""
    source = node.host.sources.get(probe)
    return (Evidence(source=source, line=line, text=text),) if source else ()


def from_statement(state: ClusterState, source: str, text: str) -> tuple[Evidence, ...]:
    """What a setting was read from: a path, or an API object that the source names (`ConfigMap kube-system/kube-proxy`)."""
    for beginning, kind in _NAMED_KINDS:
        if source.startswith(f"{beginning} "):
            return from_api(state, kind, f"{source}: {text}")
    return (Evidence(source=source, text=text),) if source else ()


_NAMED_KINDS = (
    ("ConfigMap", "configmaps"),
    ("pod", "pods"),
    ("annotation", "nodes"),
    ("kubelet", "nodes"),
    ("image", "pods"),
)
"""How a source that is no path begins, and the list that holds the object it names."""
