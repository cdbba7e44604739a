"""What is kept of a node once it is judged: a node with a hundred faults takes megabytes, and there may be thousands."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from kdiag.model.dataplane import Behaviour, Case, DataPlane, Frontend, ServicePortKey
from kdiag.model.view import NodeView
from kdiag.planes.interface import NodeEvidence


def without_ways(view: NodeView) -> NodeView:
    """The view without the ways that packets took: what they tell has been said when both planes were compared."""
    return replace(view, actual=_with_cases(view.actual, lambda case: replace(case, paths={}) if case.paths else case))


def for_checks(view: NodeView, evidence: NodeEvidence) -> NodeView:
    """The view of a judged node with no more than checks look at.

    Of what is expected that is whose an address is, and of what is there, for whom it was seen. Of large dumps the rules
    that belong to no Service, and some of each kind that do: as `evidence` has them, not all that were walked.
    """
    if view.comparison is None:
        return view
    return replace(
        view,
        rulesets=evidence.rulesets,
        nft=evidence.nft,
        expected=_without_cases(view.expected),
        actual=_with_cases(view.actual, lambda case: Case(clients=case.clients, outcomes=())),
    )


def _with_cases(plane: DataPlane | None, changed: Callable[[Case], Case]) -> DataPlane | None:
    if plane is None:
        return None
    behaviours = {
        frontend: replace(item, cases=tuple([changed(case) for case in item.cases]))
        for frontend, item in plane.behaviours.items()
    }
    return DataPlane(node=plane.node, behaviours=behaviours)


def _without_cases(plane: DataPlane | None) -> DataPlane | None:
    if plane is None:
        return None
    owners = {item.service_port for item in plane.behaviours.values()}
    bare: Mapping[ServicePortKey | None, Behaviour] = {
        owner: Behaviour(cases=(), service_port=owner) for owner in owners
    }
    behaviours: dict[Frontend, Behaviour] = {
        frontend: bare[item.service_port] for frontend, item in plane.behaviours.items()
    }
    return DataPlane(node=plane.node, behaviours=behaviours)
