"""Which nodes nobody can log in to and read rules on."""

from __future__ import annotations

from kdiag.model.cluster import Node


def no_login_reason(node: Node) -> str | None:
    """Why a node has no netfilter rules that anybody could log in and read; None if it ought to have some."""
    labels = node.meta.labels
    if node.os == "windows":
        return "a Windows node has no netfilter rules"
    if labels.get("type") == "virtual-kubelet" or any("virtual-kubelet.io" in taint for taint in node.taints):
        return "a virtual node has no netfilter rules"
    if labels.get("eks.amazonaws.com/compute-type") == "fargate":
        return "a Fargate node cannot be logged in to"
    return None
