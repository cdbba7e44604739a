"""Settings that several components state, each with the place that states it."""

from __future__ import annotations

import enum

from msgspec import Struct

from kdiag.model.addresses import Family, Network


class FactKind(enum.StrEnum):
    """What a fact is about."""

    SERVICE_RANGE = "service range"
    POD_RANGE = "pod range"
    NODE_POD_RANGE = "node pod range"
    NODE_PORT_RANGE = "node port range"
    CLUSTER_DNS = "cluster DNS address"
    NODE_CIDR_MASK = "node CIDR mask size"
    CNI_RANGE = "CNI pool"
    PROXY_MODE = "proxy mode"
    ADVERTISE_ADDRESS = "API server address"
    NODE_RANGE = "node range"
    """Where nodes are to stand. Only a plan says so."""


class Fact(Struct, frozen=True, kw_only=True, order=True):
    """One statement: `component` (kube-apiserver, kube-proxy, kubeadm, flannel, …) says that `kind` is `value`.

    `value` is canonical text (comma separated where there are several); `networks` the same parsed, where it is a
    range. `source` and `line` are where it stands; `node` is set for what holds on one node or one replica only.
    `flag` is the flag, key or field that says it.
    """

    kind: FactKind
    component: str
    value: str
    networks: tuple[Network, ...] = ()
    node: str | None = None
    flag: str = ""
    source: str = ""
    line: int = 0


class Facts(Struct, frozen=True, kw_only=True):
    """All facts, in a stable order, and what follows from them."""

    facts: tuple[Fact, ...] = ()

    def of(self, kind: FactKind) -> tuple[Fact, ...]:
        """Facts of one kind."""
        return tuple(fact for fact in self.facts if fact.kind is kind)

    def networks(self, kind: FactKind, family: Family | None = None) -> tuple[Network, ...]:
        """The distinct networks that facts of a kind state, ascending; of one family if given."""
        found = {network for fact in self.of(kind) for network in fact.networks}
        if family is not None:
            found = {network for network in found if network.version == (4 if family is Family.IPV4 else 6)}
        return tuple(
            sorted(found, key=lambda network: (network.version, int(network.network_address), network.prefixlen))
        )
