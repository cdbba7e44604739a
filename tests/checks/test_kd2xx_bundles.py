"""From groups of differences to findings: bundling, places, addresses, evidence, hints (kdiag.checks.group_finding)."""

from __future__ import annotations

import pytest

from kdiag.checks import all_checks, missing_frontend
from kdiag.checks.group_finding import (
    EVIDENCE_LIMIT,
    MANY,
    Bundle,
    bundles,
    bundles_by_node,
    bundles_by_service,
    by_fault,
    by_service,
    details,
    finding,
    frontend_text,
    proxy_hint,
    rules_with_differences,
)
from kdiag.checks.interface import Check
from kdiag.model.addresses import Family
from kdiag.model.dataplane import FrontendKind, Position
from kdiag.model.difference import CauseKind, DifferenceGroup, Symptom
from kdiag.model.host import HealthAnswer, HostFacts, Process
from kdiag.model.report import Affected, Evidence, Severity
from tests.checks.builders import node as api_node
from tests.checks.builders import node_view, pod
from tests.checks.differences import at_all_positions, difference, frontend, group, rule, view_of

CAUSE = CauseKind.MISSING_FRONTEND
CHECK = missing_frontend.CHECK


WITHOUT_CAUSE = frozenset({"KD224", "KD226"})
"""Checks that look at what is not compared: rules left over beside what replaces kube-proxy, addresses on kube-ipvs0."""


def test_every_cause_has_one_check_and_codes_are_in_order() -> None:
    codes = [check.code for check in all_checks() if check.code.startswith("KD2")]
    assert codes == [f"KD{number}" for number in range(201, 227)]
    assert len(codes) == len(CauseKind) + len(WITHOUT_CAUSE)
    assert all(check.needs_nodes for check in all_checks() if check.code.startswith("KD2"))


@pytest.mark.parametrize(
    "check",
    [item for item in all_checks() if item.code.startswith("KD2") and item.code not in WITHOUT_CAUSE],
    ids=lambda item: item.slug,
)
def test_a_check_tells_of_one_cause_alone(check: Check) -> None:
    told = []
    for cause in CauseKind:
        shown = view_of(group(cause, difference(who="")))
        told += [cause] * len(list(check.run(shown)))
    assert len(told) == 1


@pytest.mark.parametrize(
    "check", [item for item in all_checks() if item.code.startswith("KD2")], ids=lambda item: item.slug
)
def test_the_documentation_says_effect_method_and_limits(check: Check) -> None:
    for heading in ("**What it does to traffic.**", "**How it is found.**", "**What is left alone.**"):
        assert heading in check.explanation
    assert max(len(line) for line in check.explanation.splitlines()) <= 130


def test_nodes_with_the_same_fault_of_a_service_are_one_bundle() -> None:
    shown = view_of(
        group(CAUSE, difference(node="node02")),
        group(CAUSE, difference(node="node01")),
        group(CAUSE, difference(node="node03", actual="rejected")),
        group(CAUSE, difference(node="node01", service="other")),
    )
    found = bundles(shown, CAUSE, by_service)
    assert [(item.nodes, item.subjects) for item in found] == [
        (("node01", "node02"), ("default/web",)),
        (("node01",), ("default/other",)),
        (("node03",), ("default/web",)),
    ]


def test_ports_of_a_service_are_bundles_of_their_own() -> None:
    tcp = group(CAUSE, difference(port="53/TCP"))
    udp = group(CAUSE, difference(at=frontend("10.96.0.50:53", protocol="UDP"), port="53/UDP"))
    assert len(bundles(view_of(tcp, udp), CAUSE, by_service)) == 2


def test_many_services_of_a_node_are_one_bundle_and_few_are_not() -> None:
    def groups(node: str, number: int) -> list[DifferenceGroup]:
        return [group(CAUSE, difference(service=f"web-{index}", node=node)) for index in range(number)]

    few = bundles_by_service(view_of(*groups("node01", MANY - 1)), CAUSE)
    assert [len(item.groups) for item in few] == [1] * (MANY - 1)
    (many,) = bundles_by_service(view_of(*groups("node01", MANY)), CAUSE)
    assert len(many.subjects) == MANY
    (alike,) = bundles_by_service(view_of(*groups("node01", MANY), *groups("node02", MANY)), CAUSE)
    assert alike.nodes == ("node01", "node02")
    apart = bundles_by_service(view_of(*groups("node01", MANY), *groups("node02", MANY + 1)), CAUSE)
    assert [item.nodes for item in apart] == [("node01",), ("node02",)]


def test_expected_and_actual_of_many_are_cut() -> None:
    shown = view_of(*(group(CAUSE, difference(service=f"web-{index}", actual=f"a{index}")) for index in range(MANY)))
    (bundle,) = bundles_by_service(shown, CAUSE)
    assert finding(CHECK, shown, bundle, message="m").actual == "a0; a1; a2; and 2 more"


def test_addresses_without_owner_are_told_apart() -> None:
    one = group(CAUSE, difference(service=None))
    other = group(CAUSE, difference(at=frontend("10.96.0.51:80"), service=None))
    found = bundles(view_of(one, other), CAUSE, by_service)
    assert [item.subjects for item in found] == [("10.96.0.50:80/TCP",), ("10.96.0.51:80/TCP",)]


def test_a_fault_in_the_rules_is_one_bundle_across_nodes_and_families() -> None:
    v6 = difference(at=frontend("fd00::50:80"))
    shown = view_of(
        group(CAUSE, difference(), expected="e", actual="a"),
        group(CAUSE, v6, expected="e", actual="a"),
        group(CAUSE, difference(node="node02"), expected="e", actual="a"),
        group(CAUSE, difference(node="node02"), detail="another", expected="e", actual="a"),
    )
    found = bundles(shown, CAUSE, by_fault)
    assert [len(item.groups) for item in found] == [3, 1]
    assert found[0].families == (Family.IPV4, Family.IPV6)


def test_families_of_a_node_are_joined_if_their_details_agree() -> None:
    v4, v6 = difference(), difference(at=frontend("fd00::50:80"))
    alike = view_of(group(CAUSE, v4), group(CAUSE, v6))
    apart = view_of(group(CAUSE, v4, detail="one"), group(CAUSE, v6, detail="two"))
    assert len(bundles_by_node(alike, CAUSE, by_detail=True)) == 1
    assert len(bundles_by_node(apart, CAUSE, by_detail=True)) == 2
    assert len(bundles_by_node(apart, CAUSE)) == 1
    (bundle,) = bundles_by_node(alike, CAUSE, by_detail=True)
    assert list(details(bundle)) == [("detail", (Family.IPV4, Family.IPV6))]


def test_one_place_is_told_by_its_fields_alone() -> None:
    shown = view_of(group(CAUSE, *at_all_positions(difference())))
    (bundle,) = bundles(shown, CAUSE, by_service)
    found = finding(CHECK, shown, bundle, message="m")
    assert (found.node, found.service, found.port, found.frontend) == (
        "node01",
        "default/web",
        "80/TCP",
        "10.96.0.50:80/TCP",
    )
    assert found.affected == ()
    assert (found.expected, found.actual) == ("DNAT to 10.244.1.5:80", "not translated")


def test_several_ports_of_one_service_are_listed() -> None:
    shown = view_of(
        group(CAUSE, difference(port="80/TCP"), difference(at=frontend("10.96.0.50:443"), port="443/TCP")),
    )
    (bundle,) = bundles(shown, CAUSE, by_service)
    found = finding(CHECK, shown, bundle, message="m")
    assert (found.service, found.port) == ("default/web", None)
    assert found.affected == (
        Affected(node="node01", service="default/web", port="443/TCP"),
        Affected(node="node01", service="default/web", port="80/TCP"),
    )


def test_several_services_are_listed_and_none_is_named() -> None:
    shown = view_of(group(CAUSE, difference(service="web"), difference(service="db", port=None)))
    (bundle,) = bundles(shown, CAUSE, by_fault)
    found = finding(CHECK, shown, bundle, message="m")
    assert (found.service, found.port, found.frontend) == (None, None, None)
    assert [(item.service, item.port) for item in found.affected] == [
        ("default/db", "80/TCP"),
        ("default/web", "80/TCP"),
    ]


def test_a_single_address_without_owner_is_named_by_its_frontend() -> None:
    shown = view_of(group(CAUSE, difference(service=None, port=None)))
    (bundle,) = bundles(shown, CAUSE, by_service)
    found = finding(CHECK, shown, bundle, message="m")
    assert (found.service, found.port, found.frontend, found.affected) == (None, None, "10.96.0.50:80/TCP", ())


def test_nodes_without_a_suffering_service_are_listed_beside_the_others() -> None:
    shown = view_of(
        group(CAUSE, difference(), expected="e", actual="a"),
        group(CAUSE, node="node02", expected="e", actual="a", rules=()),
    )
    (bundle,) = bundles(shown, CAUSE, by_fault)
    found = finding(CHECK, shown, bundle, message="m")
    assert found.node is None
    assert found.affected == (
        Affected(node="node01", service="default/web", port="80/TCP"),
        Affected(node="node02"),
    )


def test_expected_and_actual_may_be_replaced_or_left_out() -> None:
    shown = view_of(group(CAUSE, difference()), group(CAUSE, difference(node="node02")))
    (bundle,) = bundles(shown, CAUSE, by_service)
    found = finding(
        CHECK, shown, bundle, message="m", expected="", actual="b", title="t", hint="h", severity=Severity.INFO
    )
    assert (found.expected, found.actual, found.title, found.hint, found.severity) == (
        None,
        "b",
        "t",
        "h",
        Severity.INFO,
    )


NODE_PORT = frontend("10.244.1.1:30080", kind=FrontendKind.NODE_PORT)


def test_cluster_ips_stand_before_other_addresses() -> None:
    shown = view_of(
        group(
            CAUSE,
            difference(at=NODE_PORT),
            difference(at=frontend("192.168.56.200:80", kind=FrontendKind.LOAD_BALANCER_IP)),
            difference(at=frontend("192.168.56.100:80", kind=FrontendKind.EXTERNAL_IP)),
            difference(),
            difference(at=frontend("10.244.1.9:30080", kind=FrontendKind.NODE_PORT, position=Position.EXTERNAL)),
        )
    )
    (bundle,) = bundles(shown, CAUSE, by_service)
    assert [item.kind for item in bundle.frontends] == list(FrontendKind)
    assert frontend_text(shown, bundle) == "10.96.0.50:80/TCP"


def test_a_node_port_is_shown_at_the_address_of_the_node() -> None:
    shown = view_of(group(CAUSE, difference(at=NODE_PORT)))
    (bundle,) = bundles(shown, CAUSE, by_service)
    assert frontend_text(shown, bundle) == "192.168.56.11:30080/TCP"


def test_a_node_port_of_a_node_without_a_known_address_is_shown_as_it_was_walked() -> None:
    nodes = [node_view("node01", api_node=api_node("node01", addresses=("fd00::11", "not-an-address")))]
    shown = view_of(group(CAUSE, difference(at=NODE_PORT)), nodes=nodes)
    (bundle,) = bundles(shown, CAUSE, by_service)
    assert frontend_text(shown, bundle) == "10.244.1.1:30080/TCP"


def test_a_node_port_of_several_nodes_has_no_single_address() -> None:
    shown = view_of(group(CAUSE, difference(at=NODE_PORT)), group(CAUSE, difference(at=NODE_PORT, node="node02")))
    (bundle,) = bundles(shown, CAUSE, by_service)
    assert frontend_text(shown, bundle) == "*:30080/TCP"


def test_a_bundle_without_differences_has_no_address() -> None:
    shown = view_of(group(CAUSE, rules=()))
    (bundle,) = bundles(shown, CAUSE, by_fault)
    assert frontend_text(shown, bundle) is None
    found = finding(CHECK, shown, bundle, message="m")
    assert (found.node, found.affected, found.evidence) == ("node01", (), ())


def test_evidence_is_bounded_without_repetition_and_the_message_says_so() -> None:
    rules = [rule(line) for line in range(1, 16)]
    shown = view_of(group(CAUSE, difference(rules=[*rules, rule(1, table="nat", action="jump X")])))
    (bundle,) = bundles(shown, CAUSE, by_service)
    log = Evidence(source="nodes/node01/kube-proxy.log", line=3, text="x")
    found = finding(CHECK, shown, bundle, message="m", more_evidence=[log])
    assert len(found.evidence) == EVIDENCE_LIMIT
    assert found.evidence[0] == log
    assert [item.line for item in found.evidence[1:]] == list(range(1, EVIDENCE_LIMIT))
    assert found.message == "m\n12 of the 16 lines at fault are shown as evidence."


def test_the_first_lines_are_one_for_each_service_and_the_telling_ones_first() -> None:
    lost = difference(service="lost", rules=[rule(1)])
    missing = difference(Symptom.MISSING_ENDPOINT, service="both", rules=[rule(2)])
    stale = difference(Symptom.STALE_ENDPOINT, service="both", rules=[rule(3), rule(4)])
    bundle = Bundle(groups=(group(CAUSE, lost, missing, stale),))
    assert [item.line for item in rules_with_differences(bundle)] == [3, 1, 4, 2]


PROXY_POD = pod("kube-system/kube-proxy-a", ips=("192.168.56.11",))
DEAD = HostFacts(
    processes=(Process(pid=1, argv=("/sbin/init",), source="nodes/node01/ps-ef.txt"),),
    proxy_mode_answer="",
    health=HealthAnswer(source="nodes/node01/healthz", text="", answered=False),
)


def test_a_proxy_that_does_not_run_is_to_be_started() -> None:
    shown = view_of(group(CAUSE, difference()), nodes=[node_view("node01", host=DEAD)])
    assert proxy_hint(shown, ["node01"], "Otherwise.") == (
        "kube-proxy does not run on node01: start it; it writes all of its rules anew."
    )


def test_a_running_proxy_is_to_be_asked() -> None:
    nodes = [node_view("node01", proxy_pod=PROXY_POD), *(node_view(f"node0{number}") for number in range(2, 6))]
    shown = view_of(nodes=nodes)
    assert proxy_hint(shown, ["node01"], "Otherwise.") == (
        "Otherwise. Look into kube-proxy's log on node01 (kubectl -n kube-system logs kube-proxy-a); "
        "a restart makes it write all of its rules anew."
    )
    assert proxy_hint(shown, ["node02", "node03", "node04", "node05"]) == (
        "Look into kube-proxy's log on node02, node03, node04 and 1 more (journalctl -u kube-proxy); "
        "a restart makes it write all of its rules anew."
    )
