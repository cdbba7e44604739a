from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import ClientSet, Disposition, Fate, Masquerade, Position
from kdiag.model.trace import Trace, TraceBranch
from kdiag.render.style import Style
from kdiag.render.text_trace import BRANCHES_SHOWN, VERDICTS_SHOWN, trace_text
from tests.render.samples import FRONTEND, GOOD_BRANCH, PODS, STALE_BRANCH, TRACE, network, socket, step

PIPE = Style()


def with_branches(*branches: TraceBranch) -> str:
    assert TRACE.walk is not None
    return trace_text(replace(TRACE, walk=replace(TRACE.walk, branches=branches)), PIPE)


def test_whole_trace() -> None:
    assert trace_text(TRACE, PIPE) == (
        "default/local-cluster 80/TCP\n"
        "\n"
        "Endpoints that the API lists\n"
        "  ADDRESS        POD            NODE    STATE\n"
        "  10.244.1.3:80  default/nginx  node01  ready\n"
        "  10.244.1.4:80                         not ready\n"
        "\n"
        "Does it work?\n"
        "  NODE    FROM   ADDRESS               VERDICT      EXPECTED       HAPPENS\n"
        "  node01  a pod  10.101.67.139:80/TCP  ok           10.244.1.3:80  10.244.1.3:80\n"
        "  node02  a pod  10.101.67.139:80/TCP  BROKEN       10.244.1.3:80  50% 10.244.1.3:80, 50%\n"
        "                                                                   10.244.1.9:80\n"
        "  node03  a pod  10.101.67.139:80/TCP  cannot tell  10.244.1.3:80  not recorded\n"
        "\n"
        "The way of a new connection on node02, from a pod to 10.101.67.139:80/TCP (cluster IP)\n"
        "  PREROUTING, table nat  (nodes/node02/iptables-save.txt)\n"
        "    12  PREROUTING                       jump KUBE-SERVICES\n"
        "    45    KUBE-SERVICES                  jump KUBE-SVC-SDGXHD6P3SINP7QJ\n"
        "    80      KUBE-SVC-SDGXHD6P3SINP7QJ    jump KUBE-SEP-GEKJR4UBUI5ONAYW  50%\n"
        "    91        KUBE-SEP-GEKJR4UBUI5ONAYW  DNAT to 10.244.1.3:80\n"
        "  FORWARD, table filter\n"
        "        FORWARD                          policy ACCEPT\n"
        "  => as expected, 50%: arrives at 10.244.1.3:80 (pod default/nginx on node01, ready); not\n"
        "     masqueraded, source address: the pod's own address; the client stays with this endpoint for\n"
        "     10800 s\n"
        "  branch 2 of 2: back in KUBE-SVC-SDGXHD6P3SINP7QJ\n"
        "  PREROUTING, table nat  (nodes/node02/iptables-save.txt)\n"
        "    81      KUBE-SVC-SDGXHD6P3SINP7QJ    jump KUBE-SEP-AAAAAAAAAAAAAAAA  50%\n"
        "    95        KUBE-SEP-AAAAAAAAAAAAAAAA  DNAT to 10.244.1.9:80\n"
        "  FORWARD, table filter\n"
        "        FORWARD                          policy ACCEPT\n"
        "  => WRONG, 50%: arrives at 10.244.1.9:80; masqueraded by kube-proxy\n"
        "\n"
        "  expected: 10.244.1.3:80 gets every connection\n"
        "  missing:  10.244.1.5:80 (pod default/nginx-2 on node02, ready) gets nothing\n"
        "\n"
        "note: node03: iptables-save was not recorded\n"
        "\n"
        "BROKEN in 1 of 3 cases, on 1 of 3 nodes; cannot tell for 1\n"
    )


@pytest.mark.parametrize("width", [80, 160])
def test_fits_a_terminal(width: int) -> None:
    assert [line for line in trace_text(TRACE, Style(width=width, cut=True)).splitlines() if len(line) > width] == []


def test_a_narrow_terminal_gets_less_indentation() -> None:
    text = trace_text(TRACE, Style(width=70, cut=True))
    assert "\n    91     KUBE-SEP-GEKJR4UBUI5ONAYW" in text


def test_colour_changes_nothing_but_colour() -> None:
    coloured = trace_text(TRACE, Style(colour=True))
    assert "\x1b[1;31mBROKEN\x1b[0m" in coloured
    assert "\x1b[32mok\x1b[0m" in coloured
    assert "\x1b[1;33mcannot tell\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == trace_text(TRACE, PIPE)


def test_everything_ok_leaves_the_repetition_out() -> None:
    trace = replace(TRACE, verdicts=TRACE.verdicts[:1], walk=None, notes=(), endpoints=())
    assert trace_text(trace, PIPE) == (
        "default/local-cluster 80/TCP\n\n"
        "Does it work?\n"
        "  NODE    FROM   ADDRESS               VERDICT  HAPPENS\n"
        "  node01  a pod  10.101.67.139:80/TCP  ok       10.244.1.3:80\n\n"
        "ok in 1 of 1 case, on 1 node\n"
    )


def test_alike_nodes_share_a_line_in_a_large_cluster() -> None:
    good = TRACE.verdicts[0]
    verdicts = (*(replace(good, node=f"node{number:03}") for number in range(VERDICTS_SHOWN)), TRACE.verdicts[1])
    text = trace_text(replace(TRACE, verdicts=verdicts, walk=None), PIPE)
    assert f"  node000 and {VERDICTS_SHOWN - 1} more  a pod " in text
    assert "\n  node02               a pod  10.101.67.139:80/TCP  BROKEN" in text
    assert "node001" not in text
    assert text.endswith(f"BROKEN in 1 of {VERDICTS_SHOWN + 1} cases, on 1 of {VERDICTS_SHOWN + 1} nodes\n")


@pytest.mark.parametrize(
    ("verdicts", "summary"),
    [
        ((), "nothing to judge"),
        (TRACE.verdicts[2:], "cannot tell in any case"),
        ((TRACE.verdicts[0], TRACE.verdicts[2]), "cannot tell in 1 of 2 cases; the others are ok"),
    ],
)
def test_summaries(verdicts: tuple[object, ...], summary: str) -> None:
    trace: Trace = replace(TRACE, verdicts=verdicts)  # type: ignore[arg-type]
    assert trace_text(trace, PIPE).splitlines()[-1] == summary


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        (Fate(disposition=Disposition.UNTRANSLATED), "goes on with its destination unchanged: no rule takes it"),
        (Fate(disposition=Disposition.REJECTED), "refused: the client gets an error at once"),
        (Fate(disposition=Disposition.DROPPED), "dropped: the client waits until it gives up"),
        (
            Fate(disposition=Disposition.DROPPED, backend=socket("10.244.1.3", 80)),
            "dropped after DNAT to 10.244.1.3:80: the client waits",
        ),
        (
            Fate(disposition=Disposition.REJECTED, backend=socket("10.244.1.3", 80)),
            "refused after DNAT to 10.244.1.3:80: the client",
        ),
        (Fate(disposition=Disposition.UNKNOWN), "taken by a target whose effect kdiag does not know"),
        (
            Fate(disposition=Disposition.BACKEND, backend=socket("fd00::3", 80), masquerade=Masquerade.OTHER),
            "arrives at [fd00::3]:80; masqueraded by a rule that is not kube-proxy's",
        ),
    ],
)
def test_fates(fate: Fate, words: str) -> None:
    text = with_branches(replace(GOOD_BRANCH, fate=fate, share=1.0, endpoint="", source_address=""))
    assert f"=> as expected, every connection: {words}" in " ".join(text.split())


def test_unclear_and_unjudged_branches_are_called_so() -> None:
    doubtful = replace(step(80, "KUBE-SVC-X", "jump KUBE-SEP-Y", depth=2), unclear=True)
    text = with_branches(replace(GOOD_BRANCH, steps=(doubtful,), unclear=True, legal=None))
    assert "jump KUBE-SEP-Y  (cannot tell whether it matches)\n" in text
    assert "=> cannot tell, 50%: " in text
    assert "=> not judged, 50%: " in with_branches(replace(GOOD_BRANCH, legal=None))


def test_clients_are_named_when_they_fare_differently() -> None:
    one = replace(GOOD_BRANCH, clients=replace(PODS, interfaces=frozenset({"cni0", ""})))
    other = replace(STALE_BRANCH, clients=ClientSet(addresses=AddressSet.of(Family.IPV4, [network("10.244.2.7/32")])))
    text = with_branches(one, other)
    assert "  Clients 10.244.2.0/24 by cni0, any other interface:\n" in text
    assert "  Clients 10.244.2.7:\n" in text
    assert "branch 2" not in text
    assert "Clients" not in with_branches(GOOD_BRANCH, STALE_BRANCH)


def test_branches_that_part_at_the_hook() -> None:
    text = with_branches(GOOD_BRANCH, replace(STALE_BRANCH, steps=(step(3, "PREROUTING", "DROP", depth=0),)))
    assert "\n  branch 2 of 2\n  PREROUTING, table nat" in text


def test_a_branch_that_is_the_beginning_of_another() -> None:
    text = with_branches(GOOD_BRANCH, replace(GOOD_BRANCH, steps=GOOD_BRANCH.steps[:2]))
    assert "\n  branch 2 of 2\n  => as expected" in text


def test_many_branches_are_bounded_but_wrong_ones_are_all_shown() -> None:
    text = with_branches(*[GOOD_BRANCH] * (BRANCHES_SHOWN + 5), STALE_BRANCH)
    assert text.count("=> as expected") == BRANCHES_SHOWN
    assert text.count("=> WRONG") == 1
    assert "\n  and 5 more branches as expected\n" in text


def test_tiny_share_is_not_nothing() -> None:
    assert "=> as expected, <0.1%: " in with_branches(replace(GOOD_BRANCH, share=1e-6))


@pytest.mark.parametrize(
    ("position", "words"), [(Position.NODE, "from the node to"), (Position.EXTERNAL, "from outside to")]
)
def test_positions(position: Position, words: str) -> None:
    assert TRACE.walk is not None
    walk = replace(TRACE.walk, frontend=replace(FRONTEND, position=position), branches=())
    assert words in trace_text(replace(TRACE, walk=walk), PIPE)


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
