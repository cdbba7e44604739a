"""From groups of differences to findings: what the checks of the data plane (KD2xx) have in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from kdiag.checks import proxy_not_running
from kdiag.checks.interface import Check
from kdiag.model.addresses import Family, parse_address
from kdiag.model.dataplane import Frontend, FrontendKind, RuleRef, ServicePortKey
from kdiag.model.difference import CauseKind, Difference, DifferenceGroup, Symptom
from kdiag.model.report import Affected, Evidence, Finding, Severity
from kdiag.model.view import View

EVIDENCE_LIMIT = 12
"""So many lines prove a finding; more are counted only."""

MANY = 5
"""From so many Services on, the same fault at each of them has one cause on the node."""

PHRASES_LIMIT = 3

Key = Callable[[DifferenceGroup], Hashable]


class Bundle(Struct, frozen=True, kw_only=True, dict=True):
    """Groups that are told as one finding: never empty, and all of one cause."""

    groups: tuple[DifferenceGroup, ...]

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The nodes concerned, by name."""
        return tuple(sorted({group.node for group in self.groups}))

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """The families concerned, IPv4 first."""
        found = {group.family for group in self.groups}
        return tuple(family for family in Family if family in found)

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """All differences, group by group."""
        return tuple(item for group in self.groups for item in group.differences)

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """The Services concerned, `namespace/name`; an address that belongs to none of them stands for itself."""
        return tuple(sorted({service_of(item) or item.frontend.label for item in self.differences}))

    @cached_property
    def places(self) -> tuple[Affected, ...]:
        """Where it shows: every node, Service and port once."""
        return tuple(
            sorted(
                {Affected(node=item.node, service=service_of(item), port=port_of(item)) for item in self.differences},
                key=lambda place: (place.node or "", place.service or "", place.port or ""),
            )
        )

    @cached_property
    def frontends(self) -> tuple[Frontend, ...]:
        """The addresses concerned, each once whoever the client is: cluster IPs first, node ports last."""
        kinds = tuple(FrontendKind)
        found: dict[tuple[object, ...], Frontend] = {}
        for item in self.differences:
            frontend = item.frontend
            # A node port is one address for its users, however many the nodes have.
            where = "" if frontend.kind is FrontendKind.NODE_PORT else str(frontend.address)
            found.setdefault((frontend.kind, where, frontend.port, frontend.protocol), frontend)
        return tuple(
            sorted(
                found.values(),
                key=lambda item: (
                    kinds.index(item.kind),
                    item.address.version,
                    int(item.address),
                    item.port,
                    item.protocol,
                ),
            )
        )


def service_of(difference: Difference) -> str | None:
    """`namespace/name`, None for an address that no Service is known to own."""
    return str(difference.service_port.service) if difference.service_port else None


def port_of(difference: Difference) -> str:
    """`80/TCP`: the Service's port, and where that is not known the address's."""
    return difference.port_label or f"{difference.frontend.port}/{difference.frontend.protocol}"


def by_service(group: DifferenceGroup) -> Hashable:
    """One fault of one Service port, alike on all nodes that show it."""
    keys: frozenset[ServicePortKey | str] = frozenset(
        item.service_port or item.frontend.label for item in group.differences
    )
    return keys, group.expected, group.actual


def by_fault(group: DifferenceGroup) -> Hashable:
    """One fault in the rules, alike on all nodes and in both families."""
    return group.detail, group.expected, group.actual


def bundles(view: View, cause: CauseKind, key: Key) -> tuple[Bundle, ...]:
    """The groups of a cause; those with the same key are one bundle."""
    found: dict[Hashable, list[DifferenceGroup]] = {}
    for group in view.groups(cause):
        found.setdefault(key(group), []).append(group)
    return tuple(Bundle(groups=tuple(groups)) for groups in found.values())


def bundles_by_service(view: View, cause: CauseKind) -> tuple[Bundle, ...]:
    """The groups of a cause Service port by Service port; a node with MANY of them has one fault, not many.

    Nodes that show the same at the same Services are one bundle in either case.
    """
    by_node: dict[str, list[DifferenceGroup]] = {}
    for group in view.groups(cause):
        by_node.setdefault(group.node, []).append(group)
    found: dict[Hashable, list[DifferenceGroup]] = {}
    for groups in by_node.values():
        keys = [by_service(group) for group in groups]
        together = frozenset(keys) if len(Bundle(groups=tuple(groups)).subjects) >= MANY else None
        for key, group in zip(keys, groups, strict=True):
            found.setdefault(together or key, []).append(group)
    return tuple(Bundle(groups=tuple(groups)) for groups in found.values())


def bundles_by_node(view: View, cause: CauseKind, *, by_detail: bool = False) -> tuple[Bundle, ...]:
    """The groups of a cause, one bundle per node; with `by_detail` the families of a node only if their details agree."""
    found: dict[tuple[str, Family], list[DifferenceGroup]] = {}
    for group in view.groups(cause):
        found.setdefault((group.node, group.family), []).append(group)
    joined: dict[Hashable, list[DifferenceGroup]] = {}
    for (node, _), groups in found.items():
        text = tuple(group.detail for group in groups) if by_detail else ()
        joined.setdefault((node, text), []).extend(groups)
    return tuple(Bundle(groups=tuple(groups)) for groups in joined.values())


def finding(
    check: Check,
    view: View,
    bundle: Bundle,
    *,
    message: str,
    title: str | None = None,
    severity: Severity | None = None,
    expected: str | None = None,
    actual: str | None = None,
    hint: str | None = None,
    rules: Iterable[RuleRef] | None = None,
    more_evidence: Iterable[Evidence] = (),
    affected: Iterable[Affected] | None = None,
) -> Finding:
    """A finding of `check` for a bundle.

    `expected` and `actual` are the groups' own unless given (an empty text leaves them out).
    Node, Service, port and address are set where there is just one of them; `affected` lists the places where there
    are several. `rules` are the lines that prove it (the groups' own if not given), at most EVIDENCE_LIMIT of them are
    shown, after `more_evidence`; the message says so if some are left out.
    """
    places = tuple(affected) if affected is not None else _places(bundle)
    services = {place.service for place in places}
    service = next(iter(services)) if len(services) == 1 else None
    ports = {place.port for place in places}
    port = next(iter(ports)) if service is not None and len(ports) == 1 else None
    single = len(places) == 1 and (service is not None or len(bundle.frontends) == 1)
    evidence, left_out = _evidence(more_evidence, rules if rules is not None else rules_of(bundle))
    if left_out:
        message += f"\n{len(evidence)} of the {len(evidence) + left_out} lines at fault are shown as evidence."
    return check.finding(
        title=title,
        severity=severity,
        node=bundle.nodes[0] if len(bundle.nodes) == 1 else None,
        service=service,
        port=port,
        frontend=frontend_text(view, bundle) if len(bundle.subjects) == 1 else None,
        expected=_phrases(group.expected for group in bundle.groups) if expected is None else expected or None,
        actual=_phrases(group.actual for group in bundle.groups) if actual is None else actual or None,
        message=message,
        hint=hint,
        affected=() if single else places,
        evidence=evidence,
    )


def _places(bundle: Bundle) -> tuple[Affected, ...]:
    """The places, and on several nodes also those nodes where no Service was found to suffer."""
    seen = {place.node for place in bundle.places}
    idle = [Affected(node=node) for node in bundle.nodes if node not in seen]
    return (*bundle.places, *idle) if len(bundle.nodes) > 1 else bundle.places


def _phrases(texts: Iterable[str]) -> str | None:
    distinct = list(dict.fromkeys(text for text in texts if text))
    if len(distinct) > PHRASES_LIMIT:
        distinct = [*distinct[:PHRASES_LIMIT], f"and {len(distinct) - PHRASES_LIMIT} more"]
    return "; ".join(distinct) or None


def frontend_text(view: View, bundle: Bundle) -> str | None:
    """The address that clients use, cluster IP first. A node port is shown at the node's own address."""
    if not bundle.frontends:
        return None
    frontend = bundle.frontends[0]
    if frontend.kind is not FrontendKind.NODE_PORT:
        return frontend.label
    if len(bundle.nodes) > 1:
        return f"*:{frontend.port}/{frontend.protocol}"
    node = view.node_by_name[bundle.nodes[0]].node
    for kind, text in node.addresses if node is not None else ():
        address = parse_address(text)
        if kind == "InternalIP" and address is not None and address.version == frontend.address.version:
            return replace(frontend, address=address).label
    return frontend.label


def rules_of(bundle: Bundle) -> tuple[RuleRef, ...]:
    """The lines at fault, group by group."""
    return tuple(rule for group in bundle.groups for rule in group.rules)


def rules_with_differences(bundle: Bundle) -> tuple[RuleRef, ...]:
    """The lines at fault, then those that the packets met: first one for each Service port, then the others.

    A packet that meets no rule for its address shows only where it was not caught, which tells least: such lines
    come last.
    """
    firsts: dict[ServicePortKey | str, RuleRef] = {}
    rest: list[RuleRef] = []
    for item in sorted(bundle.differences, key=lambda item: _telling(item.symptom)):
        for rule in item.rules:
            firsts.setdefault(item.service_port or item.frontend.label, rule)
            rest.append(rule)
    return tuple(dict.fromkeys((*firsts.values(), *rest)))


def _telling(symptom: Symptom) -> int:
    """0 for what shows in the rule itself, 2 for what shows in the lack of one."""
    if symptom in (Symptom.STALE_ENDPOINT, Symptom.WRONG_PORT, Symptom.NO_SUCH_SERVICE):
        return 0
    return 2 if symptom is Symptom.NOT_PROGRAMMED else 1


def _evidence(given: Iterable[Evidence], rules: Iterable[RuleRef]) -> tuple[tuple[Evidence, ...], int]:
    """The lines to show, each once, and how many are left out."""
    found = dict.fromkeys(given)
    for rule in rules:
        found.setdefault(Evidence(source=rule.source, line=rule.line, text=rule.text))
    lines = tuple(found)
    return lines[:EVIDENCE_LIMIT], max(len(lines) - EVIDENCE_LIMIT, 0)


def proxy_hint(view: View, nodes: Iterable[str], otherwise: str = "") -> str:
    """What to do about kube-proxy on these nodes: start it where it is seen not to run, else look into its log.

    `otherwise` is said first where it runs.
    """
    wanted = tuple(nodes)
    concerned = replace(view, nodes=tuple(view.node_by_name[name] for name in wanted))
    dead = {found.node for found in proxy_not_running.run(concerned)}
    down = [name for name in wanted if name in dead]
    if down:
        return f"kube-proxy does not run on {_some(down)}: start it; it writes all of its rules anew."
    pods = [pod for name in wanted if (pod := view.node_by_name[name].proxy_pod) is not None]
    where = f"kubectl -n {pods[0].key.namespace} logs {pods[0].key.name}" if pods else "journalctl -u kube-proxy"
    return " ".join(
        part
        for part in (
            otherwise,
            f"Look into kube-proxy's log on {_some(wanted)} ({where}); a restart makes it write all of its rules anew.",
        )
        if part
    )


def _some(names: Iterable[str], limit: int = 3) -> str:
    listed = tuple(names)
    return ", ".join(listed[:limit]) + (f" and {len(listed) - limit} more" if len(listed) > limit else "")


def details(bundle: Bundle) -> Iterator[tuple[str, tuple[Family, ...]]]:
    """Each detail of a bundle once, with the families that show it."""
    found: dict[str, list[Family]] = {}
    for group in bundle.groups:
        families = found.setdefault(group.detail, [])
        if group.family not in families:
            families.append(group.family)
    for detail, families in found.items():
        yield detail, tuple(families)
