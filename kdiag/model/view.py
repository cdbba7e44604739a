"""What a check looks at: the parsed snapshot, node by node, with both data planes compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

from msgspec import Struct, field

from kdiag.model.addresses import Network
from kdiag.model.cluster import ClusterState, Node, Pod, Service
from kdiag.model.dataplane import DataPlane
from kdiag.model.difference import CauseKind, Comparison, DifferenceGroup
from kdiag.model.facts import Facts
from kdiag.model.host import HostFacts
from kdiag.model.objects import ObjectKey
from kdiag.model.proxy import ProxyConfig, ProxyMode, Version
from kdiag.model.rules import IpSet, Ruleset

if TYPE_CHECKING:
    from kdiag.model.ipvs import IpvsTable
    from kdiag.model.nft import NftRuleset
    from kdiag.model.plan import Plan

_T = TypeVar("_T")


class NodeView(Struct, frozen=True, kw_only=True):
    """One node.

    `recorded` is False for a node that the API lists and the snapshot has nothing of. `config` is what its kube-proxy
    really runs with (its own /configz first, then its flags and files, then the ConfigMap); `configs` are all readings.
    `mode` is the mode its rules show; None if none could be told. `rulesets` are all rule sets that could be read.
    """

    name: str
    recorded: bool = True
    node: Node | None = None
    host: HostFacts = field(default_factory=HostFacts)
    proxy_pod: Pod | None = None
    config: ProxyConfig | None = None
    configs: tuple[ProxyConfig, ...] = ()
    version: Version | None = None
    version_source: str = ""
    mode: ProxyMode | None = None
    other_proxy: str | None = None
    """The product that replaces kube-proxy here (`Cilium`, …), None if none does."""
    rulesets: tuple[Ruleset, ...] = ()
    ipsets: Mapping[str, IpSet] | None = None
    nft: NftRuleset | None = None
    ipvs: IpvsTable | None = None
    expected: DataPlane | None = None
    actual: DataPlane | None = None
    comparison: Comparison | None = None
    twins: frozenset[ObjectKey] = frozenset()
    """Services of which nothing was walked: they get what others get that are like them in everything, or what rules like
    theirs do with their endpoints."""


class View(Struct, frozen=True, kw_only=True, dict=True):
    """The whole cluster, read only.

    `cluster` is the later reading of the API, `before` the earlier one (the same object if there was one reading).
    `reserved` are ranges that the user named with --reserved. `settle_s` is the lag in seconds that is normal.
    """

    name: str
    taken_at: datetime | None
    cluster: ClusterState
    before: ClusterState
    facts: Facts
    nodes: tuple[NodeView, ...]
    cluster_config: ProxyConfig | None = None
    """kube-proxy's configuration as the cluster states it (its ConfigMap, or what most nodes run with)."""
    reserved: tuple[Network, ...] = ()
    settle_s: float = 30.0
    plan: Plan | None = None
    """What `cluster` has and the API has not yet; None unless a plan is judged."""
    plan_replaces: Mapping[ObjectKey, Service] = field(default_factory=dict)
    """The Services of the API that the plan has in another form."""

    @cached_property
    def node_by_name(self) -> Mapping[str, NodeView]:
        """Node views by node name."""
        return {node.name: node for node in self.nodes}

    def of_both(self, read: Callable[[ClusterState], _T]) -> tuple[_T, _T]:
        """What `read` makes of the earlier and of the later reading of the API; of one reading it is made once."""
        later = read(self.cluster)
        return (later if self.before is self.cluster else read(self.before)), later

    def once(self, work: Callable[[View], _T]) -> _T:
        """What `work` makes of this view: worked out once, whoever asks."""
        if work not in self._worked_out:
            self._worked_out[work] = work(self)
        return cast("_T", self._worked_out[work])

    @cached_property
    def _worked_out(self) -> dict[Callable[[View], object], object]:
        return {}

    def groups(self, cause: CauseKind) -> tuple[DifferenceGroup, ...]:
        """All difference groups of one cause, by node."""
        return tuple(
            group
            for node in self.nodes
            if node.comparison is not None
            for group in node.comparison.groups
            if group.cause is cause
        )
