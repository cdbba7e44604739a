"""A report of a large cluster, made up: one stale node, one that could not be read, and faults here and there."""

from __future__ import annotations

from datetime import UTC, datetime

from kdiag.model.overview import (
    AddressRange,
    AddressRanges,
    CheckNote,
    NodeOverview,
    Overview,
    RangeKind,
    ServiceOverview,
    ServiceTrace,
    Unjudged,
)
from kdiag.model.report import Affected, Evidence, Finding, Gap, Report, Severity
from kdiag.model.trace import TraceEndpoint
from tests.render.samples import TRACE, network

STALE, UNREAD = "node-0007", "node-0123"


def node_name(number: int) -> str:
    return f"node-{number:04}"


def service_name(number: int) -> str:
    return f"team-{number % 40:02}/service-{number:04}"


def large_report(nodes: int = 1000, services: int = 2000) -> Report:
    names = [service_name(number) for number in range(services)]
    stale = Finding(
        code="KD223",
        slug="stale-node",
        severity=Severity.ERROR,
        title="The node stopped following the API",
        node=STALE,
        message=f"On {STALE}, the rules of {services // 2} Services are out of date.\n- and so on",
        hint="Restart kube-proxy.",
        affected=tuple(Affected(node=STALE, service=name, port="80/TCP") for name in names[::2]),
        evidence=tuple(
            Evidence(source=f"nodes/{STALE}/iptables-save.txt", line=line, text=f"-A KUBE-SVC-{line:016} -j KUBE-SEP-X")
            for line in range(1, 60)
        ),
    )
    foreign = [
        Finding(
            code="KD209",
            slug="foreign-rule",
            severity=Severity.ERROR,
            title="A rule that is not kube-proxy's takes the traffic of a Service",
            node=node_name(10 + number),
            service=names[number * 3],
            port="80/TCP",
            frontend=f"10.96.{number}.1:80/TCP",
            expected="DNAT to 10.244.1.1:80",
            actual="dropped",
            message="A foreign rule drops the packets.",
            affected=(Affected(node=node_name(10 + number), service=names[number * 3], port="80/TCP"),),
        )
        for number in range(50)
    ]
    empty = [
        Finding(
            code="KD301",
            slug="selector-matches-nothing",
            severity=Severity.WARNING,
            title="The Service's selector matches no pod",
            service=names[number * 7 + 1],
            port="80/TCP",
            message="No pod has these labels.",
        )
        for number in range(30)
    ]
    assert TRACE.walk is not None
    ranges = [
        AddressRange(kind=RangeKind.SERVICE, network=network("10.96.0.0/12"), used=services, usable=1048574, used_by="Services"),
        AddressRange(kind=RangeKind.POD, network=network("10.128.0.0/10"), used=nodes * 256, usable=1 << 22, used_by="nodes"),
        *(
            AddressRange(
                kind=RangeKind.NODE_POD,
                network=network(f"10.{128 + number // 256}.{number % 256}.0/24"),
                label=node_name(number),
                used=number % 200,
                usable=253,
                used_by="pods",
            )
            for number in range(nodes)
        ),
    ]  # fmt: skip
    overview = Overview(
        nodes=tuple(
            NodeOverview(node=node_name(number), judged=node_name(number) != UNREAD, mode="iptables", version="1.36")
            for number in range(nodes)
        ),
        services=tuple(
            ServiceOverview(
                service=name,
                type="ClusterIP",
                addresses=(f"cluster IP 10.96.{number // 256}.{number % 256}:80/TCP",),
                endpoints=tuple(
                    TraceEndpoint(
                        address=f"10.128.{number % 256}.{index}:8080",
                        pod=f"{name}-7d9f-{index}",
                        node=node_name((number + index) % nodes),
                        state="ready",
                    )
                    for index in range(8)
                ),
                endpoint_count=8,
            )
            for number, name in enumerate(names)
        ),
        unjudged=(Unjudged(node=node_name(3), reason="a rule was not understood", services=tuple(names[5:25])),),
        ranges=AddressRanges(ranges=tuple(ranges)),
        checks=(CheckNote(code="KD223", slug="stale-node", title="Stale", explanation="**What** it is.\n\n- `one`\n- two"),),
        traces=tuple(ServiceTrace(service=names[number * 2], walk=TRACE.walk) for number in range(40)),
        traces_left_out=services // 2,
    )  # fmt: skip
    return Report(
        cluster="large",
        kdiag_version="0.1.0",
        server_version="v1.36.2",
        taken_at=datetime(2026, 11, 23, 6, 5, 4, tzinfo=UTC),
        nodes_known=nodes,
        nodes_judged=nodes - 1,
        services_judged=services,
        frontends_judged=nodes * services * 3,
        findings=(stale, *foreign, *empty),
        gaps=(Gap(node=UNREAD, subject="iptables-save", reason="connection refused"),),
        modes={node_name(number): "iptables" for number in range(nodes)},
        overview=overview,
    )
