"""Planned ranges of addresses that meet others: what KD101 reports beside the ranges that are in use."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from kdiag.checks.addressing import PLAN, describe_fact, overlap, service_range_facts
from kdiag.model.addresses import Network
from kdiag.model.facts import Fact, FactKind
from kdiag.model.view import View

_POD_KINDS = (FactKind.POD_RANGE, FactKind.CNI_RANGE, FactKind.NODE_POD_RANGE)


class Meeting(Struct, frozen=True, kw_only=True):
    """Two ranges with an address in common, each with what it is for and who states it; `shared` is the smaller one."""

    left: Network
    left_use: str
    right: Network
    right_use: str
    shared: Network
    facts: tuple[Fact, ...]

    @property
    def title(self) -> str:
        """What is the matter, in a few words."""
        return f"{self.left_use[0].upper()}{self.left_use[1:]} range and {self.right_use} range overlap"

    @property
    def message(self) -> str:
        """Both ranges with their sources."""
        return (
            f"The {self.left_use} range {self.left} overlaps the {self.right_use} range {self.right}: they share "
            f"{self.shared}." + "".join(f"\n- {describe_fact(fact)}" for fact in self.facts)
        )


def planned_meetings(view: View) -> Iterator[Meeting]:
    """Planned node ranges against pods and Services, and planned pod ranges against each other and those in use.

    A planned range that is the very same as one in use states it once more, and meets nothing.
    """
    nodes = view.facts.of(FactKind.NODE_RANGE)
    services = service_range_facts(view.facts)
    pods = tuple(fact for kind in _POD_KINDS for fact in view.facts.of(kind) if fact.component != "kube-proxy")
    planned_pods = tuple(fact for fact in pods if fact.component == PLAN)
    yield from _meetings(nodes, "node", services, "Service")
    yield from _meetings(nodes, "node", pods, "pod")
    in_use = {network for fact in pods if fact.component != PLAN for network in fact.networks}
    seen: set[tuple[Network, Network]] = set()
    for item in _meetings(planned_pods, "planned pod", pods, "pod"):
        if item.left == item.right or item.left in in_use or (item.right, item.left) in seen:
            continue
        seen.add((item.left, item.right))
        yield item


def _meetings(left: tuple[Fact, ...], left_use: str, right: tuple[Fact, ...], right_use: str) -> Iterator[Meeting]:
    found: dict[tuple[Network, Network], list[Fact]] = {}
    for one in left:
        for other in right:
            for mine in one.networks:
                for theirs in other.networks:
                    if one is not other and overlap(mine, theirs) is not None:
                        found.setdefault((mine, theirs), [one]).append(other)
    for (mine, theirs), facts in found.items():
        shared = overlap(mine, theirs)
        if shared is not None:
            yield Meeting(
                left=mine,
                left_use=left_use,
                right=theirs,
                right_use=right_use,
                shared=shared,
                facts=tuple(dict.fromkeys(facts)),
            )
