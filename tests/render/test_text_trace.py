from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from kdiag.model.dataplane import Frontend, FrontendKind, Position
from kdiag.model.trace import Trace, TraceVerdict
from kdiag.render.style import Style
from kdiag.render.text_trace import ROWS_SHOWN, trace_text
from tests.render.samples import GOOD_BRANCH, STALE_BRANCH, TRACE, socket

PIPE = Style()
GOOD, BROKEN, UNCLEAR = TRACE.verdicts


def with_verdicts(*verdicts: TraceVerdict, style: Style = PIPE) -> str:
    return trace_text(replace(TRACE, verdicts=verdicts, walk=None, notes=(), endpoints=()), style)


def at(verdict: TraceVerdict, **changes: object) -> TraceVerdict:
    frontend: Frontend = replace(verdict.frontend, **changes)
    return replace(verdict, frontend=frontend)


def test_whole_trace() -> None:
    assert trace_text(TRACE, PIPE) == (
        "default/local-cluster 80/TCP\n"
        "\n"
        "Endpoints that the API lists\n"
        "  ADDRESS        POD            NODE    STATE\n"
        "  10.244.1.3:80  default/nginx  node01  ready\n"
        "  10.244.1.4:80                         not ready\n"
        "\n"
        "Does cluster IP 10.101.67.139:80/TCP work?\n"
        "  NODE    FROM   RESULT       HAPPENS                               EXPECTED\n"
        "  node01  a pod  ok           10.244.1.3:80\n"
        "  node02  a pod  BROKEN       50% 10.244.1.3:80, 50% 10.244.1.9:80  10.244.1.3:80\n"
        "  node03  a pod  cannot tell  not recorded                          10.244.1.3:80\n"
        "\n"
        "The way of a new connection on node02, from a pod to cluster IP 10.101.67.139:80/TCP\n"
        "  PREROUTING, table nat  (nodes/node02/iptables-save.txt)\n"
        "    12  PREROUTING                       jump KUBE-SERVICES\n"
        "    45    KUBE-SERVICES                  jump KUBE-SVC-SDGXHD6P3SINP7QJ\n"
        "  ├─ 50%\n"
        "  │    80      KUBE-SVC-SDGXHD6P3SINP7QJ    jump KUBE-SEP-GEKJR4UBUI5ONAYW\n"
        "  │    91        KUBE-SEP-GEKJR4UBUI5ONAYW  DNAT to 10.244.1.3:80\n"
        "  │  FORWARD, table filter\n"
        "  │        FORWARD                          policy ACCEPT\n"
        "  │  => as expected, 50%: arrives at 10.244.1.3:80 (pod default/nginx on node01, ready), from the\n"
        "  │     client's own address; the client stays with this endpoint for 10800 s\n"
        "✗ └─ 50%  WRONG\n"
        "✗      81      KUBE-SVC-SDGXHD6P3SINP7QJ    jump KUBE-SEP-AAAAAAAAAAAAAAAA\n"
        "✗      95        KUBE-SEP-AAAAAAAAAAAAAAAA  DNAT to 10.244.1.9:80\n"
        "✗    then as before: FORWARD (filter)\n"
        "✗    => WRONG, 50%: arrives at 10.244.1.9:80, masqueraded by kube-proxy\n"
        "\n"
        "  expected: 10.244.1.3:80 gets every connection\n"
        "✗ missing:  10.244.1.5:80 (pod default/nginx-2 on node02, ready) gets nothing\n"
        "\n"
        "note: node03: iptables-save was not recorded\n"
        "\n"
        "BROKEN on node02 (1 of 3 nodes); cannot tell on node03 (1 of 3 nodes)\n"
    )


@pytest.mark.parametrize("width", [80, 160])
def test_fits_a_terminal(width: int) -> None:
    assert [line for line in trace_text(TRACE, Style(width=width, cut=True)).splitlines() if len(line) > width] == []


def test_colour_changes_nothing_but_colour() -> None:
    coloured = trace_text(TRACE, Style(colour=True))
    assert "\x1b[1;31mBROKEN\x1b[0m" in coloured
    assert "\x1b[32mok\x1b[0m" in coloured
    assert "\x1b[1;33mcannot tell\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == trace_text(TRACE, PIPE)


def test_a_stream_without_line_drawing_gets_letters() -> None:
    plain = trace_text(TRACE, Style(ascii_only=True))
    assert plain.isascii()
    for drawn, letters in (("├─", "|-"), ("└─", "`-"), ("│", "|"), ("✗", "X")):
        assert drawn in trace_text(TRACE, PIPE)
        assert letters in plain
    assert [len(line) for line in plain.splitlines()] == [len(line) for line in trace_text(TRACE, PIPE).splitlines()]


def test_everything_ok_leaves_the_repetition_out() -> None:
    assert with_verdicts(GOOD) == (
        "default/local-cluster 80/TCP\n\n"
        "Does cluster IP 10.101.67.139:80/TCP work?\n"
        "  NODE    FROM   RESULT  HAPPENS\n"
        "  node01  a pod  ok      10.244.1.3:80\n\n"
        "ok on node01\n"
    )


def test_clients_that_fare_alike_share_a_line() -> None:
    everywhere = [at(GOOD, position=position) for position in Position]
    assert "\n  node01  anywhere  ok      10.244.1.3:80\n\n" in with_verdicts(*everywhere)
    outside = replace(everywhere[2], actual="dropped")
    assert (
        "\n  node01  a pod, the node  ok      10.244.1.3:80\n  node01  outside          ok      dropped        10.244.1.3:80\n"
    ) in with_verdicts(*everywhere[:2], outside)


def test_several_addresses_stand_between_the_rows() -> None:
    external = socket("192.0.2.7", 80).address
    node_ports = [
        at(
            replace(GOOD, node=f"node0{n}"),
            kind=FrontendKind.NODE_PORT,
            address=socket(f"192.0.2.1{n}", 1).address,
            port=30080,
        )
        for n in (1, 2)
    ]
    verdicts = (GOOD, at(GOOD, kind=FrontendKind.EXTERNAL_IP, address=external), node_ports[0], node_ports[1])
    assert with_verdicts(*verdicts) == (
        "default/local-cluster 80/TCP\n\n"
        "Does it work?\n"
        "    NODE    FROM   RESULT  HAPPENS\n"
        "  cluster IP 10.101.67.139:80/TCP\n"
        "    node01  a pod  ok      10.244.1.3:80\n"
        "  external IP 192.0.2.7:80/TCP\n"
        "    node01  a pod  ok      10.244.1.3:80\n"
        "  IPv4 node port 30080/TCP\n"
        "    node01  a pod  ok      10.244.1.3:80\n"
        "    node02  a pod  ok      10.244.1.3:80\n\n"
        "ok on all 2 nodes\n"
    )


def test_an_address_of_no_service_is_of_no_kind() -> None:
    text = trace_text(replace(TRACE, service_port=None), PIPE)
    assert "\nDoes 10.101.67.139:80/TCP work?\n" in text
    assert "from a pod to 10.101.67.139:80/TCP\n" in text


def test_alike_nodes_share_a_line_in_a_large_cluster() -> None:
    good = [replace(GOOD, node=f"node{number:03}") for number in range(ROWS_SHOWN)]
    text = with_verdicts(*good, BROKEN)
    assert f"\n  node000 and {ROWS_SHOWN - 1} more  a pod  ok " in text
    assert "\n  node02               a pod  BROKEN  50% " in text
    assert "node001" not in text
    assert text.endswith(f"BROKEN on node02 (1 of {ROWS_SHOWN + 1} nodes)\n")
    assert "\n  node001 " in with_verdicts(*good)


@pytest.mark.parametrize(
    ("verdicts", "summary"),
    [
        ((), "nothing to judge"),
        ((UNCLEAR,), "cannot tell on node03"),
        ((GOOD, UNCLEAR), "cannot tell on node03 (1 of 2 nodes); ok on the others"),
        ((UNCLEAR, replace(UNCLEAR, node="node01")), "cannot tell on all 2 nodes"),
        ((BROKEN,), "BROKEN on node02"),
        ((BROKEN, replace(GOOD, node="node02"), GOOD), "BROKEN on node02 (1 of 2 nodes)"),
        ((BROKEN, replace(UNCLEAR, node="node02")), "BROKEN on node02"),
        ((GOOD, replace(GOOD, node="node02")), "ok on all 2 nodes"),
    ],
)
def test_summaries(verdicts: tuple[TraceVerdict, ...], summary: str) -> None:
    trace: Trace = replace(TRACE, verdicts=verdicts)
    assert trace_text(trace, PIPE).splitlines()[-1] == summary


def test_nothing_from_the_snapshot_reaches_the_terminal_unescaped() -> None:
    evil = "\x1b[2J\u202e\x07"
    assert TRACE.walk is not None
    assert GOOD_BRANCH.steps[0].rule is not None
    bad_step = replace(
        GOOD_BRANCH.steps[0],
        chain=evil,
        action=evil,
        rule=replace(GOOD_BRANCH.steps[0].rule, source=evil),
    )
    branch = replace(GOOD_BRANCH, steps=(bad_step, *GOOD_BRANCH.steps[1:]), endpoint=evil, source_address=evil)
    trace = replace(
        TRACE,
        title=evil,
        notes=(evil,),
        endpoints=(replace(TRACE.endpoints[0], pod=evil, node=evil, state=evil),),
        verdicts=(replace(TRACE.verdicts[1], node=evil, expected=evil, actual="x"),),
        walk=replace(TRACE.walk, node=evil, expected=evil, missing=(evil,), branches=(branch, STALE_BRANCH)),
    )
    text = trace_text(trace, PIPE)
    assert {ch for ch in text if not ch.isprintable()} == {"\n"}
    assert "\\x1b[2J" in text
