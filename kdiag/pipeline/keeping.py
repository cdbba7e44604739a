"""What is kept of a node once it is judged: a node with a hundred faults takes megabytes, and there may be thousands."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from kdiag.model.addresses import AddressSet
from kdiag.model.dataplane import Behaviour, Case, ClientSet, DataPlane
from kdiag.model.view import NodeView
from kdiag.planes.interface import NodeEvidence


def without_ways(view: NodeView) -> NodeView:
    """The view without the ways that packets took: what they tell has been said when both planes were compared."""

    def bare(item: Behaviour) -> Behaviour:
        return replace(item, cases=tuple([replace(case, paths={}) if case.paths else case for case in item.cases]))

    return replace(view, actual=_with(view.actual, bare))


def for_checks(view: NodeView, evidence: NodeEvidence) -> NodeView:
    """The view of a judged node with no more than checks look at.

    Of what is expected that is whose an address is, and of what is there, for which clients it was seen. Of large dumps the
    rules that belong to no Service, and some of each kind that do: as `evidence` has them, not all that were walked.
    """
    if view.comparison is None:
        return view
    return replace(
        view,
        rulesets=evidence.rulesets,
        nft=evidence.nft,
        expected=_with(view.expected, lambda item: replace(item, cases=())),
        actual=_with(view.actual, _seen_for),
    )


def _seen_for(item: Behaviour) -> Behaviour:
    """All clients as one case."""
    if not item.cases:
        return item
    clients = ClientSet(addresses=AddressSet.union([case.clients.addresses for case in item.cases]))
    return replace(item, cases=(Case(clients=clients, outcomes=()),))


def _with(plane: DataPlane | None, changed: Callable[[Behaviour], Behaviour]) -> DataPlane | None:
    if plane is None:
        return None
    behaviours = {frontend: changed(item) for frontend, item in plane.behaviours.items()}
    return DataPlane(node=plane.node, behaviours=behaviours)
