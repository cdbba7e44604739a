"""What manifests and ranges that are not applied yet would do to a cluster.

The cluster is looked at twice by the same checks, as it is and with the plan in it. What is found the second time
alone, and is about the plan, is the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import structs
from msgspec.structs import replace

from kdiag import __version__
from kdiag.checks import SLUGS, check_of
from kdiag.checks.addressing import PLAN
from kdiag.checks.interface import Check
from kdiag.errors import UsageError
from kdiag.gather.manifest_files import read_manifest_files
from kdiag.model.addresses import parse_network
from kdiag.model.cluster import ClusterState
from kdiag.model.facts import Fact, FactKind, Facts
from kdiag.model.plan import Plan, PlannedRange
from kdiag.model.report import Evidence, Finding, Gap, GapKind, Report, Severity
from kdiag.model.snapshot import Snapshot
from kdiag.model.view import View
from kdiag.parse.manifests import parse_manifests
from kdiag.pipeline.flow import Scope, finding_order, is_chosen, is_wanted
from kdiag.pipeline.planned_state import Assumed, with_plan
from kdiag.pipeline.ranges import address_ranges
from kdiag.pipeline.viewing import build_view

PLANNED_CLUSTER = "planned"
"""The name of a cluster that is not there yet."""

PLAN_CODES = frozenset("KD101 KD102 KD109 KD111 KD112 KD301 KD302 KD303 KD307 KD308 KD310 KD320 KD408".split())
"""What can be told of objects that are not there: no rules, and nothing that depends on where pods will run."""

_TOGETHER = frozenset({"KD102", "KD112", "KD408"})
"""Checks that tell of all Services at fault in one finding: those that are at fault already would be told again."""

_REFUSED = frozenset(
    {("KD102", "Cluster IPs lie outside every Service range"), ("KD112", "Node ports lie outside their range")}
)
"""What is a warning for an object that is there, and is why the API server does not take a new one."""


_SPARED = "Pod range and Service range overlap"
"""May be harmless where the controller manager knows both; who plans a range can still take another."""

_NEW_HINT = "Leave the field out of the manifest, and the API server chooses, or take a value of the range."


def read_plan(
    paths: Sequence[Path],
    *,
    namespace: str = "default",
    pod_cidrs: Sequence[str] = (),
    service_cidrs: Sequence[str] = (),
    node_cidrs: Sequence[str] = (),
) -> Plan:
    """The plan that manifests and ranges make together. Raises UsageError, with file and line, for what is none."""
    plan = parse_manifests(read_manifest_files(paths), namespace=namespace)
    return replace(
        plan,
        pod_ranges=_ranges("--pod-cidr", pod_cidrs),
        service_ranges=_ranges("--service-cidr", service_cidrs),
        node_ranges=_ranges("--node-cidr", node_cidrs),
    )


def _ranges(option: str, texts: Sequence[str]) -> tuple[PlannedRange, ...]:
    out: list[PlannedRange] = []
    for text in (part.strip() for given in texts for part in given.split(",")):
        network = parse_network(text) if "/" in text else None
        if network is None:
            raise UsageError(f"{option} {text}: no address range", hint=f"give it as CIDR: {option} 10.96.0.0/12")
        out.append(PlannedRange(network=network, stated_by=option))
    return tuple(dict.fromkeys(out))


def judge_plan(snapshot: Snapshot | None, plan: Plan, scope: Scope) -> Report:
    """What is wrong with the plan in the cluster of a snapshot; without one, in a cluster that has nothing else.

    Only findings that the plan brings about: those that the cluster has already are not told.
    """
    chosen = [check_of(code) for code in SLUGS if code in PLAN_CODES and is_chosen(code, scope)]
    if not chosen:
        raise UsageError(
            "--select and --ignore leave no check to run on manifests and ranges",
            hint=f"of a plan these are judged: {', '.join(sorted(PLAN_CODES))}",
        )
    there, gaps = _cluster(snapshot, scope)
    view, assumed = _with_plan(there, plan)
    findings = sorted(_brought_about(chosen, there, view, assumed), key=finding_order)
    wanted = tuple(key for key in scope.services)
    shown = [item for item in findings if is_wanted(item, wanted, scope.namespace)]
    return Report(
        cluster=view.name,
        kdiag_version=__version__,
        server_version=view.cluster.server_version,
        taken_at=view.taken_at,
        nodes_known=len(view.nodes),
        nodes_judged=sum(1 for node in view.nodes if node.recorded),
        services_judged=len(plan.services),
        frontends_judged=sum(len(item.cluster_ips) * len(item.ports) for item in assumed.services.values()),
        findings=tuple(shown),
        gaps=tuple(sorted(dict.fromkeys(gaps), key=lambda gap: (gap.kind, gap.node or "", gap.subject, gap.reason))),
        modes={node.name: str(node.mode) for node in view.nodes if node.mode is not None},
        address_ranges=address_ranges(view) if scope.with_ranges else None,
    )


def _cluster(snapshot: Snapshot | None, scope: Scope) -> tuple[View, list[Gap]]:
    """The cluster as it is, and what of it could not be seen that a plan depends on."""
    if snapshot is None:
        empty = ClusterState()
        view = View(
            name=PLANNED_CLUSTER,
            taken_at=None,
            cluster=empty,
            before=empty,
            facts=Facts(),
            nodes=(),
            reserved=scope.reserved,
        )
        return view, []
    view, gaps = build_view(
        snapshot,
        nodes=scope.nodes,
        without_nodes=scope.without_nodes,
        reserved=scope.reserved,
        settle_s=scope.settle_s,
    )
    nodes = {node.name: node for node in view.nodes}
    # Rules are no matter here. That a node was not reached is: nobody knows who listens there.
    kept = [
        gap
        for gap in gaps
        if gap.node is None or gap.kind is GapKind.NOT_ASKED or (gap.node in nodes and not nodes[gap.node].recorded)
    ]
    return replace(view, before=view.cluster), kept


def _with_plan(view: View, plan: Plan) -> tuple[View, Assumed]:
    """The cluster with the plan applied."""
    facts = Facts(facts=(*view.facts.facts, *_facts(plan)))
    assumed = with_plan(view.cluster, plan, facts)
    cluster = assumed.cluster
    replaced = {key: item for key, item in view.cluster.service_by_key.items() if key in assumed.services}
    return (
        replace(view, cluster=cluster, before=cluster, facts=facts, plan=plan, plan_replaces=replaced),
        assumed,
    )


def _facts(plan: Plan) -> Iterator[Fact]:
    for kind, ranges in (
        (FactKind.POD_RANGE, plan.pod_ranges),
        (FactKind.SERVICE_RANGE, plan.service_ranges),
        (FactKind.NODE_RANGE, plan.node_ranges),
    ):
        for item in ranges:
            yield Fact(
                kind=kind,
                component=PLAN,
                value=str(item.network),
                networks=(item.network,),
                flag=item.stated_by,
                source="command line",
            )
    for cidr in plan.service_cidrs:
        if cidr.cidrs:
            place = plan.places["ServiceCIDR", cidr.meta.key]
            yield Fact(
                kind=FactKind.SERVICE_RANGE,
                component=PLAN,
                value=",".join(map(str, cidr.cidrs)),
                networks=cidr.cidrs,
                flag=f"ServiceCIDR {cidr.meta.key.name} spec.cidrs",
                source=place.source,
                line=place.line,
            )


def _brought_about(chosen: Iterable[Check], there: View, view: View, assumed: Assumed) -> Iterator[Finding]:
    planned = {str(key) for key in assumed.services} | {str(item.key) for item in (view.plan or Plan()).refusals}
    mentioned = {str(key) for key in assumed.services}
    for check in chosen:
        before = list(check.run(there))
        known = {_identity(finding) for finding in before}
        if check.code in _TOGETHER:
            old = {item.service for finding in before for item in finding.affected} - mentioned
            shown = _without(view, frozenset(name for name in old if name is not None))
        else:
            shown = view
        for finding in check.run(shown):
            services = {name for name in (finding.service, *(item.service for item in finding.affected)) if name}
            if _identity(finding) in known or (services and not services & planned):
                continue
            if check.code == "KD307" and services & {str(key) for key in assumed.unplaced}:
                continue  # where the pods will run nobody knows
            yield _told(finding, view.plan or Plan(), assumed, view.cluster)


def _without(view: View, names: frozenset[str]) -> View:
    """The view without some Services that stand beside the plan."""
    if not names:
        return view
    services = tuple(item for item in view.cluster.services if str(item.key) not in names)
    cluster = structs.replace(view.cluster, services=services)
    return replace(view, cluster=cluster, before=cluster)


def _identity(finding: Finding) -> tuple[object, ...]:
    return (
        finding.code,
        finding.title,
        finding.node,
        finding.service,
        finding.port,
        finding.frontend,
        frozenset(finding.affected),
        # A range has no field of its own.
        finding.actual if finding.service is None else None,
    )


def _told(finding: Finding, plan: Plan, assumed: Assumed, cluster: ClusterState) -> Finding:
    """The finding with the manifest's place first, and without addresses that were only assumed."""
    names = {name for name in (finding.service, *(item.service for item in finding.affected)) if name}
    places = [
        Evidence(source=place.source, line=place.line, text=f"{kind} {key}")
        for (kind, key), place in sorted(plan.places.items())
        if kind == "Service" and str(key) in names
    ]
    api = set(cluster.sources.values())
    theirs = [
        item
        for item in finding.evidence
        if item not in places and not (item.source in api and any(str(key) in item.text for key in assumed.services))
    ]
    severity = finding.severity
    ranges = finding.code == "KD101" and (severity is Severity.WARNING or finding.title == _SPARED)
    if ranges or (finding.code, finding.title) in _REFUSED:
        severity = Severity.ERROR
    refused = (finding.code, finding.title) in _REFUSED
    return replace(
        finding,
        severity=severity,
        message=f"{finding.message} The API server does not take a new Service like that."
        if refused
        else finding.message,
        hint=_NEW_HINT if refused else finding.hint,
        frontend=assumed.real(finding.frontend),
        evidence=tuple(dict.fromkeys((*places, *theirs))),
    )
