"""A report, a trace and settings made by hand, small enough to be read beside what they are rendered to."""

from __future__ import annotations

from datetime import UTC, datetime

from kdiag.model.addresses import AddressSet, Family, Network, Protocol, SocketAddress, parse_address, parse_network
from kdiag.model.dataplane import (
    ClientSet,
    Disposition,
    Fate,
    Frontend,
    FrontendKind,
    Masquerade,
    Position,
    RuleRef,
    ServicePortKey,
)
from kdiag.model.facts import Fact, FactKind, Facts
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Affected, Evidence, Finding, Gap, GapKind, Report, Severity
from kdiag.model.trace import Trace, TraceBranch, TraceEndpoint, TraceStep, TraceVerdict, TraceWalk

DUMP = "nodes/node02/iptables-save.txt"


def socket(address: str, number: int) -> SocketAddress:
    parsed = parse_address(address)
    assert parsed is not None
    return SocketAddress(parsed, number)


def network(text: str) -> Network:
    parsed = parse_network(text)
    assert parsed is not None
    return parsed


STALE = Finding(
    code="KD204",
    slug="stale-endpoint",
    severity=Severity.ERROR,
    title="Traffic goes to an endpoint that is gone",
    node="node02",
    service="default/local-cluster",
    port="80/TCP",
    frontend="10.101.67.139:80/TCP",
    expected="10.244.1.3:80",
    actual="10.244.1.9:80",
    message="node02 sends connections to 10.244.1.9:80, which has not been an endpoint of default/local-cluster for 12 minutes.",
    hint="Look at the log of kube-proxy on node02, then restart it.",
    affected=(Affected(node="node02", service="default/local-cluster", port="80/TCP"),),
    evidence=(
        Evidence(
            source=DUMP,
            line=412,
            text='-A KUBE-SEP-GEKJR4UBUI5ONAYW -p tcp -m comment --comment "default/local-cluster" -m tcp -j DNAT '
            "--to-destination 10.244.1.9:80",
        ),
        Evidence(source="cluster/endpointslices-v1.json"),
    ),
)
FLUSHED = Finding(
    code="KD202",
    slug="missing-base-jump",
    severity=Severity.ERROR,
    title="The jump to KUBE-SERVICES is gone",
    node="node01",
    message="PREROUTING of table nat does not jump to KUBE-SERVICES.\nNo Service works for pods on node01.",
    hint="Restart kube-proxy.",
    affected=tuple(Affected(node="node01", service=f"default/web-{number:02}") for number in range(14)),
)
UNEVEN = Finding(
    code="KD207",
    slug="unbalanced",
    severity=Severity.WARNING,
    title="Endpoints do not get equal shares",
    service="shop/cart",
    port="8080/TCP",
    message="",
    hint="",
    affected=(Affected(node="node01", service="shop/cart", port="8080/TCP"),),
    evidence=tuple(Evidence(source=DUMP, line=number, text="-A X") for number in range(1, 12)),
)
REPORT = Report(
    cluster="three-nodes",
    kdiag_version="0.1.0",
    server_version="v1.30.3",
    taken_at=datetime(2026, 11, 23, 6, 5, 4, tzinfo=UTC),
    nodes_known=3,
    nodes_judged=2,
    services_judged=14,
    frontends_judged=41,
    findings=(STALE, UNEVEN, FLUSHED),
    gaps=(
        Gap(node="node03", subject="iptables-save", reason="connection refused; start sshd"),
        Gap(node="node04", subject="iptables-save", reason="connection refused; start sshd"),
        Gap(subject="kube-scheduler", reason="the control plane is managed", kind=GapKind.NOT_APPLICABLE),
        Gap(subject="nodes", reason="--no-nodes", kind=GapKind.NOT_ASKED),
    ),
    modes={"node02": "iptables", "node01": "iptables", "node03": "ipvs"},
)
HEALTHY = Report(
    cluster="one-node",
    kdiag_version="0.1.0",
    server_version=None,
    taken_at=None,
    nodes_known=1,
    nodes_judged=1,
    services_judged=1,
    frontends_judged=1,
    findings=(),
    gaps=(),
)

FRONTEND = Frontend(
    address=socket("10.101.67.139", 80).address,
    protocol=Protocol.TCP,
    port=80,
    kind=FrontendKind.CLUSTER_IP,
    position=Position.POD,
)
PODS = ClientSet(addresses=AddressSet.of(Family.IPV4, [network("10.244.2.0/24")]))


def step(line: int, chain: str, action: str, *, depth: int, share: float = 1.0, hook: str = "PREROUTING") -> TraceStep:
    rule = RuleRef(source=DUMP, line=line, text=f"-A {chain}", table="nat", chain=chain) if line else None
    table = "nat" if hook == "PREROUTING" else "filter"
    return TraceStep(hook=hook, table=table, chain=chain, action=action, share=share, depth=depth, rule=rule)


_COMMON = (
    step(12, "PREROUTING", "jump KUBE-SERVICES", depth=0),
    step(45, "KUBE-SERVICES", "jump KUBE-SVC-SDGXHD6P3SINP7QJ", depth=1),
)
GOOD_BRANCH = TraceBranch(
    clients=PODS,
    fate=Fate(disposition=Disposition.BACKEND, backend=socket("10.244.1.3", 80), affinity_s=10800),
    share=0.5,
    steps=(
        *_COMMON,
        step(80, "KUBE-SVC-SDGXHD6P3SINP7QJ", "jump KUBE-SEP-GEKJR4UBUI5ONAYW", depth=2, share=0.5),
        step(91, "KUBE-SEP-GEKJR4UBUI5ONAYW", "DNAT to 10.244.1.3:80", depth=3, share=0.5),
        step(0, "FORWARD", "policy ACCEPT", depth=0, share=0.5, hook="FORWARD"),
    ),
    endpoint="pod default/nginx on node01, ready",
    source_address="the client's own",
    legal=True,
)
STALE_BRANCH = TraceBranch(
    clients=PODS,
    fate=Fate(disposition=Disposition.BACKEND, backend=socket("10.244.1.9", 80), masquerade=Masquerade.PROXY),
    share=0.5,
    steps=(
        *_COMMON,
        step(81, "KUBE-SVC-SDGXHD6P3SINP7QJ", "jump KUBE-SEP-AAAAAAAAAAAAAAAA", depth=2, share=0.5),
        step(95, "KUBE-SEP-AAAAAAAAAAAAAAAA", "DNAT to 10.244.1.9:80", depth=3, share=0.5),
        step(0, "FORWARD", "policy ACCEPT", depth=0, share=0.5, hook="FORWARD"),
    ),
    legal=False,
)
TRACE = Trace(
    title="default/local-cluster 80/TCP",
    service_port=ServicePortKey(
        service=ObjectKey(namespace="default", name="local-cluster"), port_name="", protocol=Protocol.TCP
    ),
    endpoints=(
        TraceEndpoint(address="10.244.1.3:80", pod="default/nginx", node="node01", state="ready"),
        TraceEndpoint(address="10.244.1.4:80", pod=None, node=None, state="not ready"),
    ),
    verdicts=(
        TraceVerdict(node="node01", frontend=FRONTEND, ok=True, expected="10.244.1.3:80", actual="10.244.1.3:80"),
        TraceVerdict(
            node="node02",
            frontend=FRONTEND,
            ok=False,
            expected="10.244.1.3:80",
            actual="50% 10.244.1.3:80, 50% 10.244.1.9:80",
        ),
        TraceVerdict(node="node03", frontend=FRONTEND, ok=None, expected="10.244.1.3:80", actual="not recorded"),
    ),
    walk=TraceWalk(
        node="node02",
        frontend=FRONTEND,
        expected="10.244.1.3:80 gets every connection",
        branches=(GOOD_BRANCH, STALE_BRANCH),
        missing=("10.244.1.5:80 (pod default/nginx-2 on node02, ready) gets nothing",),
    ),
    notes=("node03: iptables-save was not recorded",),
)

FACTS = Facts(
    facts=(
        Fact(
            kind=FactKind.POD_RANGE,
            component="kube-proxy",
            value="10.244.0.0/16",
            networks=(network("10.244.0.0/16"),),
            flag="clusterCIDR",
            source="cluster/kube-system-configmaps.json",
        ),
        Fact(
            kind=FactKind.SERVICE_RANGE,
            component="kube-apiserver",
            value="10.96.0.0/12",
            node="controlplane",
            flag="--service-cluster-ip-range",
            source="nodes/controlplane/ps-ef.txt",
            line=7,
        ),
        Fact(
            kind=FactKind.SERVICE_RANGE,
            component="kube-controller-manager",
            value="10.100.0.0/16",
            node="controlplane",
            flag="--service-cluster-ip-range",
            source="nodes/controlplane/ps-ef.txt",
            line=8,
        ),
    )
)
