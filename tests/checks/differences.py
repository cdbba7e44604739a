"""Builders for differences, and for views whose nodes show them: texts are parsed, everything has a sane default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from kdiag.model.addresses import AddressSet, Protocol, SocketAddress, family_of
from kdiag.model.cluster import ClusterState
from kdiag.model.dataplane import (
    Behaviour,
    Case,
    ClientSet,
    DataPlane,
    Disposition,
    Fate,
    Frontend,
    FrontendKind,
    Outcome,
    Position,
    RuleRef,
    ServicePortKey,
)
from kdiag.model.difference import CauseKind, Comparison, Difference, DifferenceGroup, Symptom, Unclear
from kdiag.model.view import NodeView, View
from tests.checks.builders import address, key, node_view, view

WHO = {
    Position.POD: "all pods on the node",
    Position.NODE: "the node itself",
    Position.EXTERNAL: "all clients outside the node",
}


def owner(where: str = "web", port_name: str = "", protocol: str = "TCP") -> ServicePortKey:
    return ServicePortKey(service=key(where), port_name=port_name, protocol=Protocol(protocol))


def socket(text: str) -> SocketAddress:
    host, _, number = text.rpartition(":")
    return SocketAddress(address(host), int(number))


def frontend(
    text: str = "10.96.0.50:80",
    *,
    kind: FrontendKind = FrontendKind.CLUSTER_IP,
    position: Position = Position.POD,
    protocol: str = "TCP",
) -> Frontend:
    at = socket(text)
    return Frontend(address=at.address, protocol=Protocol(protocol), port=at.port, kind=kind, position=position)


def rule(
    line: int = 10,
    text: str | None = None,
    *,
    node: str = "node01",
    source: str | None = None,
    table: str = "nat",
    chain: str = "KUBE-SERVICES",
    action: str = "",
    foreign: bool = False,
) -> RuleRef:
    return RuleRef(
        source=source or f"nodes/{node}/iptables-save.txt",
        line=line,
        text=text if text is not None else f"-A {chain} # {line}",
        table=table,
        chain=chain,
        action=action,
        foreign=foreign,
    )


def outcome(shares: Mapping[str, float]) -> Outcome:
    """Shares by `10.244.1.5:80` or by a disposition (`rejected`, `untranslated`, …)."""
    fates = []
    for text, share in shares.items():
        if ":" in text:
            fates.append((Fate(disposition=Disposition.BACKEND, backend=socket(text)), share))
        else:
            fates.append((Fate(disposition=Disposition(text)), share))
    return Outcome(shares=tuple(fates))


def difference(
    symptom: Symptom = Symptom.NOT_PROGRAMMED,
    at: Frontend | None = None,
    *,
    service: str | None = "web",
    port: str | None = "80/TCP",
    node: str = "node01",
    who: str | None = None,
    sources: str | None = None,
    expected: str = "DNAT to 10.244.1.5:80",
    actual: str = "not translated",
    gets: Mapping[str, float] | None = None,
    backends: Iterable[str] = (),
    rules: Iterable[RuleRef] | None = None,
) -> Difference:
    where = at if at is not None else frontend()
    family = family_of(where.address)
    clients = (
        AddressSet.everything(family)
        if sources is None
        else AddressSet.of(family, [address(text) for text in sources.split(",")])
    )
    return Difference(
        node=node,
        frontend=where,
        service_port=owner(service, protocol=str(where.protocol)) if service is not None else None,
        port_label=port,
        clients=ClientSet(addresses=clients),
        symptom=symptom,
        expected=expected,
        actual=actual,
        actual_outcome=outcome(gets) if gets is not None else None,
        backends=tuple(socket(text) for text in backends),
        rules=tuple(rules) if rules is not None else (rule(node=node),),
        who=WHO[where.position] if who is None else who,
    )


def at_all_positions(item: Difference) -> tuple[Difference, ...]:
    """The same difference for pods, the node itself and outside clients."""
    return tuple(
        replace(item, frontend=replace(item.frontend, position=position), who=WHO[position]) for position in Position
    )


def group(
    cause: CauseKind,
    *differences: Difference,
    node: str | None = None,
    family: str | None = None,
    detail: str = "detail",
    expected: str | None = None,
    actual: str | None = None,
    rules: Iterable[RuleRef] | None = None,
) -> DifferenceGroup:
    """A group; what is not given is taken from its first difference."""
    first = differences[0] if differences else difference()
    found = first.frontend.family
    return DifferenceGroup(
        cause=cause,
        node=node or first.node,
        family=type(found)(family) if family is not None else found,
        detail=detail,
        expected=first.expected if expected is None else expected,
        actual=first.actual if actual is None else actual,
        rules=tuple(rules) if rules is not None else tuple(each for item in differences for each in item.rules),
        differences=differences,
    )


def view_of(
    *groups: DifferenceGroup,
    state: ClusterState | None = None,
    nodes: Iterable[NodeView] = (),
    judged: Iterable[Frontend] = (),
    expected: Mapping[Frontend, ServicePortKey] | None = None,
    unclear: Iterable[Unclear] = (),
) -> View:
    """A view whose nodes show the groups. `judged` are addresses that were walked besides those that differ."""
    given = {item.name: item for item in nodes}
    names = sorted({*given, *(item.node for item in groups)})
    views = []
    for name in names:
        mine = tuple(item for item in groups if item.node == name)
        walked = {item.frontend for each in mine for item in each.differences} | set(judged)
        base = given.get(name) or node_view(name)
        views.append(
            replace(
                base,
                comparison=Comparison(node=name, groups=mine, unclear=tuple(unclear), judged=len(walked)),
                actual=DataPlane(node=name, behaviours={item: _behaviour(item) for item in walked}),
                expected=DataPlane(
                    node=name,
                    behaviours={
                        item: replace(_behaviour(item), service_port=port) for item, port in (expected or {}).items()
                    },
                ),
            )
        )
    return view(state, nodes=views)


def _behaviour(at: Frontend) -> Behaviour:
    everybody = ClientSet(addresses=AddressSet.everything(family_of(at.address)))
    return Behaviour(cases=(Case(clients=everybody, outcomes=()),))
