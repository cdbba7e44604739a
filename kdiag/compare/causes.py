"""From many differences to their causes: one group is one fault, however many Services it shows at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kdiag.model.addresses import Family
from kdiag.model.dataplane import FrontendKind, RuleRef, ServicePortKey
from kdiag.model.difference import CauseKind, Condition, Difference, DifferenceGroup, Symptom

# What a node shows whose rules were right once: the API has moved on since.
AGEING = frozenset(
    {
        Symptom.NOT_PROGRAMMED,
        Symptom.NO_SUCH_SERVICE,
        Symptom.MISSING_ENDPOINT,
        Symptom.STALE_ENDPOINT,
        Symptom.NOT_REFUSED,
        Symptom.REFUSED,
    }
)
# From this many Services on, ageing differences of one node are one fault: the node no longer follows the API.
STALE_FROM = 2

SINGLE: dict[Symptom, CauseKind] = {
    Symptom.NOT_PROGRAMMED: CauseKind.MISSING_FRONTEND,
    Symptom.NO_SUCH_SERVICE: CauseKind.STALE_FRONTEND,
    Symptom.MISSING_ENDPOINT: CauseKind.MISSING_ENDPOINT,
    Symptom.STALE_ENDPOINT: CauseKind.STALE_ENDPOINT,
    Symptom.WRONG_PORT: CauseKind.WRONG_PORT,
    Symptom.UNBALANCED: CauseKind.UNBALANCED,
    Symptom.REFUSED: CauseKind.REFUSED,
    Symptom.NOT_REFUSED: CauseKind.NOT_REFUSED,
    Symptom.MASQUERADE_MISSING: CauseKind.MASQUERADE_MISSING,
    Symptom.MASQUERADE_NEEDLESS: CauseKind.MASQUERADE_NEEDLESS,
    Symptom.AFFINITY: CauseKind.AFFINITY,
}


def group(node: str, differences: Iterable[Difference], conditions: Sequence[Condition]) -> tuple[DifferenceGroup, ...]:
    """Group a node's differences by cause.

    Structural conditions come first and take what they explain; then rules of others and policies; then ageing, which
    is one fault when it shows at several Services; what is left is told Service by Service.
    """
    rest = list(differences)
    groups: list[DifferenceGroup] = []
    for condition in conditions:
        explained = [item for item in rest if item.decided_by is None and condition.explains(item)]
        if condition.cause is CauseKind.BASE_JUMP and condition.symptoms and Symptom.REFUSED in condition.symptoms:
            explained += [item for item in rest if item.decided_by is not None and _by_policy(item, condition)]
        if condition.cause is CauseKind.TWO_BACKENDS:
            explained = [item for item in rest if item.frontend.family is condition.family]
        if not explained and not condition.stands_alone:
            continue
        if not explained and condition.cause is CauseKind.LOCAL_DETECTION:
            continue
        taken = set(map(id, explained))
        rest = [item for item in rest if id(item) not in taken]
        groups.append(
            DifferenceGroup(
                cause=condition.cause,
                node=node,
                family=condition.family,
                detail=condition.detail,
                expected=condition.expected,
                actual=condition.actual,
                rules=condition.rules,
                differences=_ordered(explained),
            )
        )
    decided = [item for item in rest if item.decided_by is not None]
    rest = [item for item in rest if item.decided_by is None]
    groups += _by_deciding_rule(node, decided)
    groups += _ageing_or_single(node, rest)
    return tuple(groups)


def _by_policy(difference: Difference, condition: Condition) -> bool:
    """A packet dropped by the FORWARD policy because KUBE-FORWARD is not asked."""
    decided = difference.decided_by
    return (
        decided is not None
        and not decided.foreign
        and "FORWARD" in condition.expected
        and condition.explains(difference)
    )


def _by_deciding_rule(node: str, differences: list[Difference]) -> list[DifferenceGroup]:
    found: dict[tuple[RuleRef, Family], list[Difference]] = {}
    for item in differences:
        if item.decided_by is not None:
            found.setdefault((item.decided_by, item.frontend.family), []).append(item)
    groups = []
    for (rule, family), items in sorted(found.items(), key=lambda entry: (entry[0][0].source, entry[0][0].line)):
        policy = rule.action.startswith("policy")
        groups.append(
            DifferenceGroup(
                cause=CauseKind.FORWARD_POLICY if policy else CauseKind.FOREIGN_RULE,
                node=node,
                family=family,
                detail=(
                    f"the {rule.action.removeprefix('policy ')} policy of chain {rule.chain} in table {rule.table} "
                    "takes what no rule before it accepts"
                    if policy
                    else f"a rule in chain {rule.chain} of table {rule.table} decides before kube-proxy's: {rule.action}"
                    if rule.foreign
                    else f"a rule in chain {rule.chain} of table {rule.table} takes translated packets: {rule.action}"
                ),
                expected=_common([item.expected for item in items]),
                actual=_common([item.actual for item in items]),
                rules=(rule,),
                differences=_ordered(items),
            )
        )
    return groups


def _ageing_or_single(node: str, differences: list[Difference]) -> list[DifferenceGroup]:
    groups: list[DifferenceGroup] = []
    for family in Family:
        mine = [item for item in differences if item.frontend.family is family]
        ageing = [item for item in mine if item.symptom in AGEING and not _is_tampering(item)]
        services = {item.service_port.service if item.service_port else item.frontend.label for item in ageing}
        if len(services) >= STALE_FROM:
            taken = set(map(id, ageing))
            mine = [item for item in mine if id(item) not in taken]
            groups.append(
                DifferenceGroup(
                    cause=CauseKind.STALE_NODE,
                    node=node,
                    family=family,
                    detail=f"the rules of {len(services)} Services are out of date",
                    expected="rules that follow the API",
                    actual=f"{len(services)} Services out of date",
                    rules=_rules_of(ageing),
                    differences=_ordered(ageing),
                )
            )
        groups += _by_service(node, family, mine)
    return groups


def _is_tampering(difference: Difference) -> bool:
    """A Service's own chain that leads nowhere, or source ranges that are not enforced: no age brings that about."""
    return difference.symptom is Symptom.NOT_PROGRAMMED and difference.in_service_chain or _is_source_range(difference)


def _is_source_range(difference: Difference) -> bool:
    return difference.frontend.kind is FrontendKind.LOAD_BALANCER_IP and (
        (difference.symptom is Symptom.STALE_ENDPOINT and difference.expected == "dropped")
        or (difference.symptom is Symptom.NOT_REFUSED and difference.expected == "dropped")
        or (difference.symptom is Symptom.REFUSED and difference.actual == "dropped")
    )


def _by_service(node: str, family: Family, differences: list[Difference]) -> list[DifferenceGroup]:
    found: dict[tuple[object, CauseKind], list[Difference]] = {}
    endpoints_of_service: set[object] = {
        _who(item) for item in differences if item.symptom is Symptom.STALE_ENDPOINT and not _is_tampering(item)
    }
    for item in differences:
        cause = SINGLE[item.symptom]
        if _is_source_range(item):
            cause = CauseKind.SOURCE_RANGES
        elif item.symptom is Symptom.NOT_PROGRAMMED and item.in_service_chain:
            cause = CauseKind.BROKEN_CHAIN
        elif item.symptom is Symptom.MISSING_ENDPOINT and _who(item) in endpoints_of_service:
            # A replaced endpoint is missing and stale at once: one fault.
            cause = CauseKind.STALE_ENDPOINT
        found.setdefault((_who(item), cause), []).append(item)
    groups = []
    for (_, cause), items in sorted(found.items(), key=lambda entry: (str(entry[0][0]), entry[0][1])):
        first = items[0]
        groups.append(
            DifferenceGroup(
                cause=cause,
                node=node,
                family=family,
                detail=f"{first.frontend.label}: {first.symptom}",
                expected=_common([item.expected for item in items]),
                actual=_common([item.actual for item in items]),
                rules=_rules_of(items),
                differences=_ordered(items),
            )
        )
    return groups


def _who(difference: Difference) -> ServicePortKey | str:
    return difference.service_port or difference.frontend.label


def _rules_of(differences: Iterable[Difference]) -> tuple[RuleRef, ...]:
    found: dict[tuple[str, int, str], RuleRef] = {}
    for item in differences:
        for rule in item.rules:
            found.setdefault((rule.source, rule.line, rule.text), rule)
    return tuple(found.values())


def _common(texts: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(texts))
    return distinct[0] if len(distinct) == 1 else " | ".join(distinct[:3])


def _ordered(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple(
        sorted(
            differences,
            key=lambda item: (
                str(item.service_port or ""),
                item.frontend.kind,
                item.frontend.address.version,
                int(item.frontend.address),
                item.frontend.port,
                item.frontend.protocol,
                item.frontend.position,
                item.symptom,
                item.clients.addresses.ranges,
            ),
        )
    )
