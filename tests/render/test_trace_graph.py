from __future__ import annotations

import pytest
from msgspec.structs import replace

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import ClientSet
from kdiag.model.trace import TraceBranch, TraceWalk
from kdiag.render.trace_graph import COLUMNS, Role, State, TraceGraph, trace_graph, walk_graph
from kdiag.render.walk_tree import BRANCHES_SHOWN
from tests.render.samples import GOOD_BRANCH, STALE_BRANCH, TRACE, network, step
from tests.render.traces import HOSTILE, named, undecided, without_walk

assert TRACE.walk is not None
WALK: TraceWalk = TRACE.walk


def graph_of(*branches: TraceBranch) -> TraceGraph:
    return walk_graph(replace(WALK, branches=branches, missing=()))


def test_the_whole_graph() -> None:
    graph = trace_graph(TRACE)
    assert graph.title == "The way of a new connection on node02, from a pod to cluster IP 10.101.67.139:80/TCP"
    assert [(box.role, box.state, box.heading) for box in graph.boxes] == [
        (Role.CLIENT, State.PLAIN, "from a pod"),
        (Role.RULES, State.PLAIN, "PREROUTING, table nat"),
        (Role.RULES, State.PLAIN, "PREROUTING, table nat"),
        (Role.END, State.GOOD, "as expected, 50%"),
        (Role.RULES, State.PLAIN, "PREROUTING, table nat"),
        (Role.END, State.BAD, "WRONG, 50%"),
        (Role.MISSING, State.MISSING, "MISSING"),
    ]
    assert [(item.source, item.target, item.state, item.label) for item in graph.arrows] == [
        ("n0", "n1", State.PLAIN, ""),
        ("n1", "n2", State.GOOD, "50%"),
        ("n2", "n3", State.GOOD, ""),
        ("n1", "n4", State.BAD, "50%"),
        ("n4", "n5", State.BAD, ""),
        ("n0", "n6", State.MISSING, "0%"),
    ]
    assert graph.boxes[0].lines == ("on node02", "as 10.244.2.0/24", "to cluster IP 10.101.67.139:80/TCP")
    assert graph.boxes[1].lines == (
        "12 PREROUTING: jump KUBE-SERVICES",
        "45 KUBE-SERVICES:",
        "  jump KUBE-SVC-SDGXHD6P3SINP7QJ",
    )


def test_an_address_of_no_service_is_of_no_kind() -> None:
    assert "to 10.101.67.139:80/TCP" in trace_graph(replace(TRACE, service_port=None)).boxes[0].lines


def test_hooks_without_a_fork_between_share_a_box() -> None:
    steps = (
        step(1, "PREROUTING", "DNAT to 10.244.1.3:80", depth=0),
        step(2, "FORWARD", "jump KUBE-FORWARD", depth=0, hook="FORWARD"),
        step(3, "KUBE-FORWARD", "ACCEPT", depth=1, hook="FORWARD"),
    )
    box = graph_of(replace(GOOD_BRANCH, steps=steps, share=1.0)).boxes[1]
    assert (box.heading, box.headings) == ("PREROUTING, table nat", frozenset({1}))
    assert box.lines == (
        "1 PREROUTING: DNAT to 10.244.1.3:80",
        "FORWARD, table filter",
        "2 FORWARD: jump KUBE-FORWARD",
        "3 KUBE-FORWARD: ACCEPT",
    )


def test_what_changes_nothing_is_left_out() -> None:
    steps = (
        step(1, "FORWARD", "jump A", depth=0),
        step(2, "FORWARD", "jump B", depth=0),
        step(3, "B", "RETURN", depth=1),
        step(0, "FORWARD", "policy ACCEPT", depth=0),
    )
    graph = graph_of(replace(GOOD_BRANCH, steps=steps, share=1.0))
    assert [box.role for box in graph.boxes] == [Role.CLIENT, Role.END]
    unclear = (steps[0], steps[1], replace(steps[2], unclear=True))
    box = graph_of(replace(GOOD_BRANCH, steps=unclear, share=1.0)).boxes[1]
    assert box.lines == ("2 FORWARD: jump B", "3 B: RETURN (cannot tell whether it matches)")


def test_doubt_has_a_state_of_its_own() -> None:
    graph = trace_graph(undecided())
    assert [box.state for box in graph.boxes if box.role is Role.END] == [State.DOUBT, State.PLAIN]
    assert {arrow.state for arrow in graph.arrows} == {State.PLAIN, State.DOUBT}


def test_each_set_of_clients_starts_on_its_own() -> None:
    alone = ClientSet(addresses=AddressSet.of(Family.IPV4, [network("10.244.2.7/32")]), interfaces=frozenset({"cni0"}))
    graph = graph_of(GOOD_BRANCH, replace(STALE_BRANCH, clients=alone))
    starts = [box for box in graph.boxes if box.role is Role.CLIENT]
    assert [box.lines[1] for box in starts] == ["as 10.244.2.0/24", "as 10.244.2.7 by cni0"]
    assert starts[0].key != starts[1].key


def test_many_branches_are_counted() -> None:
    branches = [
        replace(GOOD_BRANCH, steps=(step(number, "A", f"DNAT to 10.0.0.{number}:80", depth=0),))
        for number in range(1, BRANCHES_SHOWN + 4)
    ]
    graph = graph_of(*branches)
    assert graph.boxes[-1].heading == "and 3 more branches as expected"
    assert sum(box.role is Role.END for box in graph.boxes) == BRANCHES_SHOWN


def test_without_a_walk_there_is_a_note() -> None:
    (box,) = trace_graph(without_walk()).boxes
    assert (box.role, box.heading, box.lines) == (
        Role.NOTE,
        "default/web",
        ("the rules of default/web were not read",),
    )
    assert trace_graph(replace(without_walk(), notes=())).boxes[0].lines == ("there is nothing to follow",)


def test_nothing_walked_and_something_missing() -> None:
    graph = trace_graph(replace(TRACE, walk=replace(WALK, branches=())))
    assert [box.role for box in graph.boxes] == [Role.MISSING]
    assert graph.arrows == ()


@pytest.mark.parametrize("name", HOSTILE)
def test_text_is_visible_and_bounded(name: str) -> None:
    graph = trace_graph(named(name * 20))
    lines = [line for box in graph.boxes for line in (box.heading, *box.lines)]
    assert all(line.isprintable() for line in (*lines, graph.title))
    assert max(map(len, lines)) <= COLUMNS + 2
