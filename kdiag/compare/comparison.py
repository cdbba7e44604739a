"""The comparison of one node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from kdiag.compare.causes import group
from kdiag.compare.judge import Known, judge, judge_unexpected
from kdiag.model.dataplane import Behaviour, DataPlane, Frontend, RuleRef, ServicePortKey
from kdiag.model.difference import CauseKind, Comparison, Condition, Difference, Unclear
from kdiag.model.objects import ObjectKey


def compare(
    expected: DataPlane,
    actual: DataPlane,
    *,
    earlier: DataPlane | None = None,
    conditions: Sequence[Condition] = (),
    label_of: Callable[[ServicePortKey], str | None] | None = None,
    filter_seen: bool = True,
    young: frozenset[ObjectKey] = frozenset(),
    outrun: bool = False,
    came_and_went: bool = False,
) -> Comparison:
    """Compare a node's expected with its actual data plane.

    `earlier` is the expectation from the API as it was before the node was read. A frontend that it has otherwise is in
    motion: it is right if either reading allows what is there; what neither reading allows is a difference only as far
    as both readings ask for the same endpoints, and is else unsettled. `conditions` are the structural faults that the
    plane saw. `young` are Services that changed too lately to ask anything of them; `outrun` says that the API changed
    after the node was read, so that what nobody expects there may have been right. `came_and_went` says that Services
    may have been made and deleted between the two readings: what neither of them has is then kept as `passing`, for a
    later reading to judge. `label_of` says what reports call a Service port. Frontends that `actual` lacks were not read, and
    are not judged.
    """
    node = expected.node
    split = any(item.cause is CauseKind.TWO_BACKENDS for item in conditions)
    if split:
        # The backend that is not written any more is out of date whatever else changes.
        young, outrun, came_and_went = frozenset(), False, False
    differences: list[Difference] = []
    undecided: dict[tuple[RuleRef, ...], dict[ServicePortKey, None]] = {}
    moving: dict[ServicePortKey, None] = {}
    passing: list[Difference] = []
    judged = 0
    outran = False
    known, about, label = Known(), None, None
    for frontend, behaviour in expected.behaviours.items():
        real = actual.behaviours.get(frontend)
        if real is None:
            continue
        judged += 1
        if behaviour.service_port != about:
            known, about = Known(), behaviour.service_port
            label = label_of(about) if about is not None and label_of is not None else None
        verdict = judge(node, frontend, behaviour, real, label, filter_seen=filter_seen, known=known)
        if verdict.undecided and behaviour.service_port:
            undecided.setdefault(verdict.unclear, {})[behaviour.service_port] = None
        found = verdict.differences
        before = _before(earlier, frontend)
        if found and behaviour.service_port and behaviour.service_port.service in young:
            moving[behaviour.service_port] = None
            continue
        if found and earlier is not None and not _same(before, behaviour):
            found = _settled(node, frontend, before, real, found, filter_seen)
            if len(found) < len(verdict.differences) and behaviour.service_port:
                moving[behaviour.service_port] = None
        differences += found
    for frontend, real in actual.behaviours.items():
        if frontend in expected.behaviours:
            continue
        judged += 1
        if earlier is not None and frontend in earlier.behaviours:
            # Deleted while the node was read.
            if real.service_port:
                moving[real.service_port] = None
            continue
        unexpected = judge_unexpected(node, frontend, real)
        if unexpected and outrun:
            outran = True
        elif came_and_went:
            passing += unexpected
        else:
            differences += unexpected
    # Which of two backends decides is not known: no more is to be said of what one of them leaves open.
    open_ways = {} if split else undecided
    unclear = [
        Unclear(
            node=node,
            reason="a rule on the way is not understood",
            service_ports=tuple(sorted(ports)),
            rules=rules,
        )
        for rules, ports in sorted(open_ways.items(), key=lambda entry: str(entry[0]))
    ]
    if moving or outran:
        unclear.append(
            Unclear(
                node=node,
                reason="the API changed while the node was read, or too shortly before",
                service_ports=tuple(sorted(moving)),
                unsettled=True,
            )
        )
    unclear += _passed_by(node, passing)
    return Comparison(
        node=node,
        groups=group(node, differences, conditions),
        unclear=tuple(unclear),
        passing=tuple(passing),
        judged=judged,
    )


def _passed_by(node: str, passing: Sequence[Difference]) -> tuple[Unclear, ...]:
    """What is to be said of addresses that a Service may have had between two readings: nothing yet, and why."""
    if not passing:
        return ()
    rules = tuple(dict.fromkeys(item.rules[0] for item in passing if item.rules))
    addresses = len({(item.frontend.address, item.frontend.port, item.frontend.protocol) for item in passing})
    return (
        Unclear(
            node=node,
            reason=(
                f"there are rules for {addresses} address{'' if addresses == 1 else 'es'} that no Service had before or "
                "after the node was read; one that was made and deleted meanwhile would leave the same"
            ),
            service_ports=(),
            rules=rules,
            unsettled=True,
        ),
    )


def _before(earlier: DataPlane | None, frontend: Frontend) -> Behaviour | None:
    return earlier.behaviours.get(frontend) if earlier is not None else None


def _same(before: Behaviour | None, now: Behaviour) -> bool:
    return before is not None and before.cases == now.cases


def _settled(
    node: str,
    frontend: Frontend,
    before: Behaviour | None,
    real: Behaviour,
    found: tuple[Difference, ...],
    filter_seen: bool,
) -> tuple[Difference, ...]:
    """Of the differences from the later reading, those that the earlier one shows too."""
    if before is None:
        # Created while the node was read: nothing can be asked of it yet.
        return ()
    earlier = judge(node, frontend, before, real, None, filter_seen=filter_seen)
    kept = []
    for item in found:
        others = [
            other for other in earlier.differences if other.symptom is item.symptom and other.clients & item.clients
        ]
        # Missing is what both readings have, stale what neither has.
        both = tuple(backend for backend in item.backends if any(backend in other.backends for other in others))
        if both or (others and not item.backends):
            kept.append(replace(item, backends=both))
    return tuple(kept)
