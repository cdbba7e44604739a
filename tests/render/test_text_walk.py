from __future__ import annotations

import pytest
from msgspec.structs import replace

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import ClientSet, Disposition, Fate, Masquerade, Position
from kdiag.model.trace import TraceBranch, TraceStep, TraceWalk
from kdiag.render.style import Style
from kdiag.render.text_walk import BRANCHES_SHOWN, walk_lines
from tests.render.samples import FRONTEND, GOOD_BRANCH, PODS, STALE_BRANCH, TRACE, network, socket, step

PIPE = Style()
assert TRACE.walk is not None
WALK: TraceWalk = TRACE.walk


def text_of(*branches: TraceBranch, style: Style = PIPE) -> str:
    return "\n".join(walk_lines(replace(WALK, branches=branches), style, owned=True)) + "\n"


def walked(*steps: TraceStep, fate: Fate = GOOD_BRANCH.fate) -> str:
    return text_of(replace(GOOD_BRANCH, steps=steps, fate=fate, share=1.0))


def in_filter(line: int, chain: str, action: str, depth: int = 0) -> TraceStep:
    return step(line, chain, action, depth=depth, hook="FORWARD")


def test_a_narrow_terminal_gets_less_indentation() -> None:
    assert "\n  │    91     KUBE-SEP-GEKJR4UBUI5ONAYW" in text_of(
        GOOD_BRANCH, STALE_BRANCH, style=Style(width=70, cut=True)
    )


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
            "arrives at [fd00::3]:80, masqueraded by a rule that is not kube-proxy's",
        ),
    ],
)
def test_fates(fate: Fate, words: str) -> None:
    text = text_of(replace(GOOD_BRANCH, fate=fate, share=1.0, endpoint="", source_address=""))
    assert f"=> as expected, every connection: {words}" in " ".join(text.split())


def test_unclear_and_unjudged_branches_are_called_so() -> None:
    doubtful = replace(step(80, "KUBE-SVC-X", "jump KUBE-SEP-Y", depth=2), unclear=True)
    text = text_of(replace(GOOD_BRANCH, steps=(doubtful,), unclear=True, legal=None))
    assert "jump KUBE-SEP-Y  (cannot tell whether it matches)\n" in text
    assert "=> cannot tell, 50%: " in text
    assert "=> not judged, 50%: " in text_of(replace(GOOD_BRANCH, legal=None))


def test_clients_are_named_when_they_fare_differently() -> None:
    one = replace(GOOD_BRANCH, clients=replace(PODS, interfaces=frozenset({"cni0", ""})))
    other = replace(STALE_BRANCH, clients=ClientSet(addresses=AddressSet.of(Family.IPV4, [network("10.244.2.7/32")])))
    text = text_of(one, other)
    assert "  Clients 10.244.2.0/24 by cni0, any other interface:\n" in text
    assert "  Clients 10.244.2.7:\n" in text
    assert "─ 50%" not in text
    assert "Clients" not in text_of(GOOD_BRANCH, STALE_BRANCH)


def test_branches_that_part_at_the_hook() -> None:
    text = text_of(GOOD_BRANCH, replace(STALE_BRANCH, steps=(step(3, "PREROUTING", "DROP", depth=0),)))
    assert "\n  ├─ 50%\n  │  PREROUTING, table nat  (nodes/node02/iptables-save.txt)\n" in text
    assert "\n✗ └─ 50%  WRONG\n✗    PREROUTING, table nat\n✗       3  PREROUTING " in text


def test_forks_in_forks() -> None:
    jump = step(1, "PREROUTING", "jump A", depth=0)
    left = step(2, "A", "jump B", depth=1, share=0.5)
    ends = [step(number, "B", f"DNAT to 10.244.1.{number}:80", depth=2, share=0.25) for number in (5, 6)]
    other = step(3, "A", "DROP", depth=1, share=0.5)
    text = text_of(
        *(replace(GOOD_BRANCH, steps=(jump, left, end), share=0.25) for end in ends),
        replace(STALE_BRANCH, steps=(jump, other), share=0.5),
    )
    assert [line.rstrip() for line in text.splitlines()[2:] if "=>" not in line][:9] == [
        "    1  PREROUTING  jump A",
        "  ├─ 50%",
        "  │    2    A         jump B",
        "  │  ├─ 25%",
        "  │  │    5      B       DNAT to 10.244.1.5:80",
        "  │  │     client's own address; the client stays with this endpoint for 10800 s",
        "  │  └─ 25%",
        "  │       6      B       DNAT to 10.244.1.6:80",
        "  │        client's own address; the client stays with this endpoint for 10800 s",
    ]
    assert "\n✗ └─ 50%  WRONG\n✗      3    A         DROP\n" in text


def test_what_is_wrong_or_unclear_has_a_mark_in_the_margin() -> None:
    doubtful = replace(STALE_BRANCH, legal=None, unclear=True)
    text = text_of(GOOD_BRANCH, doubtful)
    assert "\n? └─ 50%  cannot tell\n?      81 " in text
    assert "✗ =>" not in text
    alone = text_of(replace(STALE_BRANCH, share=1.0)).splitlines()
    assert [line[0] for line in alone if "81" in line or "=>" in line] == [" ", "✗"]


def test_a_branch_that_is_the_beginning_of_another() -> None:
    text = text_of(GOOD_BRANCH, replace(GOOD_BRANCH, steps=GOOD_BRANCH.steps[:4]))
    assert "\n  ├─ 50%\n  │  FORWARD, table filter\n" in text
    assert "\n  └─ 50%\n     => as expected" in text


def test_many_branches_are_bounded_but_wrong_ones_are_all_shown() -> None:
    text = text_of(*[GOOD_BRANCH] * (BRANCHES_SHOWN + 5), STALE_BRANCH)
    assert text.count("=> as expected") == BRANCHES_SHOWN
    assert text.count("=> WRONG") == 1
    assert "\n  and 5 more branches as expected\n" in text


def test_tiny_share_is_not_nothing() -> None:
    assert "=> as expected, <0.1%: " in text_of(replace(GOOD_BRANCH, share=1e-6))


@pytest.mark.parametrize(
    ("position", "words"), [(Position.NODE, "from the node to"), (Position.EXTERNAL, "from outside to")]
)
def test_positions(position: Position, words: str) -> None:
    walk = replace(WALK, frontend=replace(FRONTEND, position=position), branches=())
    assert words in walk_lines(walk, PIPE, owned=True)[0]


def test_jumps_that_come_to_nothing_share_a_line() -> None:
    text = walked(
        in_filter(27, "FORWARD", "jump KUBE-PROXY-FIREWALL"),
        in_filter(28, "FORWARD", "jump KUBE-FORWARD"),
        in_filter(31, "FORWARD", "jump DOCKER-USER"),
        in_filter(48, "DOCKER-USER", "RETURN", depth=1),
        in_filter(32, "FORWARD", "jump LAST"),
    )
    assert (
        "  FORWARD, table filter  (nodes/node02/iptables-save.txt)\n"
        "    27-28  FORWARD        jump KUBE-PROXY-FIREWALL, KUBE-FORWARD: nothing matches there\n"
        "       31  FORWARD        jump DOCKER-USER\n"
        "       48    DOCKER-USER  RETURN\n"
        "       32  FORWARD        jump LAST: nothing matches there\n"
        "  =>"
    ) in text


def test_jumps_of_different_chains_and_tables_are_told_apart() -> None:
    text = walked(
        step(5, "PREROUTING", "jump A", depth=0),
        in_filter(6, "FORWARD", "jump B"),
        in_filter(9, "B", "jump C", depth=1),
        in_filter(7, "FORWARD", "jump D"),
    )
    assert "    5  PREROUTING  jump A: nothing matches there\n" in text
    assert "    6  FORWARD     jump B\n    9    B         jump C: nothing matches there\n" in text
    assert "    7  FORWARD     jump D: nothing matches there\n" in text


def test_what_is_no_jump_into_a_chain_is_not_called_fruitless() -> None:
    doubtful = replace(in_filter(3, "FORWARD", "jump MAYBE"), unclear=True)
    text = walked(
        in_filter(1, "FORWARD", "jump LOG"),
        in_filter(2, "FORWARD", "jump CT"),
        doubtful,
        in_filter(4, "FORWARD", "goto AWAY"),
        in_filter(5, "FORWARD", "jump LAST"),
        fate=Fate(disposition=Disposition.UNKNOWN),
    )
    assert "nothing matches" not in text


def test_jumps_with_different_shares_stay_apart() -> None:
    half = replace(in_filter(2, "FORWARD", "jump B"), share=0.5)
    text = walked(in_filter(1, "FORWARD", "jump A"), half)
    assert "jump A: nothing matches there\n" in text
    assert "jump B: nothing matches there  50%\n" in text


def test_a_jump_that_comes_to_nothing_in_one_branch_alone_is_told_in_both() -> None:
    jump = step(12, "PREROUTING", "jump KUBE-SERVICES", depth=0)
    inside = step(45, "KUBE-SERVICES", "DNAT to 10.244.1.9:80", depth=1)
    text = text_of(replace(GOOD_BRANCH, steps=(jump,)), replace(STALE_BRANCH, steps=(jump, inside)))
    assert "12  PREROUTING       jump KUBE-SERVICES: nothing matches there\n" in text
    assert "✗    PREROUTING, table nat\n✗      12  PREROUTING       jump KUBE-SERVICES\n" in text


def test_only_whole_hooks_are_as_before() -> None:
    accept = in_filter(0, "FORWARD", "policy ACCEPT")
    one = (step(80, "PREROUTING", "DNAT to 10.244.1.3:80", depth=0), in_filter(7, "FORWARD", "MARK"), accept)
    other = (step(81, "PREROUTING", "DNAT to 10.244.1.9:80", depth=0), in_filter(8, "FORWARD", "MARK"), accept)
    text = text_of(replace(GOOD_BRANCH, steps=one), replace(STALE_BRANCH, steps=other))
    assert "as before" not in text
    assert text.count("policy ACCEPT") == 2
    same_end = (other[0], *one[1:])
    text = text_of(replace(GOOD_BRANCH, steps=one), replace(STALE_BRANCH, steps=same_end))
    assert "\n✗    then as before: FORWARD (filter)\n" in text
    assert text.count("policy ACCEPT") == 1
    everything = text_of(GOOD_BRANCH, replace(GOOD_BRANCH, steps=GOOD_BRANCH.steps[-1:]))
    assert "\n  └─ 50%\n     then as before: FORWARD (filter)\n" in everything


def test_another_dump_is_named_where_it_begins() -> None:
    first = step(1, "PREROUTING", "jump A", depth=0)
    assert first.rule is not None
    second = replace(in_filter(2, "FORWARD", "ACCEPT"), rule=replace(first.rule, source="nodes/n/legacy.txt", line=2))
    text = walked(first, second, in_filter(3, "FORWARD", "DROP"))
    assert "  FORWARD, table filter  (nodes/n/legacy.txt)\n" in text
    assert "  FORWARD, table filter  (nodes/node02/iptables-save.txt)\n" in text


@pytest.mark.parametrize(
    ("masquerade", "seen", "words"),
    [
        (Masquerade.NO, "", ", from the client's own address"),
        (Masquerade.NO, "the client's own", ", from the client's own address"),
        (Masquerade.NO, "10.244.1.17", ", from the client's own address, 10.244.1.17"),
        (Masquerade.PROXY, "192.0.2.1", ", masqueraded by kube-proxy as coming from 192.0.2.1"),
        (Masquerade.OTHER, "", ", masqueraded by a rule that is not kube-proxy's"),
    ],
)
def test_sources(masquerade: Masquerade, seen: str, words: str) -> None:
    fate = Fate(disposition=Disposition.BACKEND, backend=socket("10.244.1.3", 80), masquerade=masquerade)
    text = text_of(replace(GOOD_BRANCH, fate=fate, endpoint="", source_address=seen))
    assert f"arrives at 10.244.1.3:80{words} expected:" in " ".join(text.split())


def test_escapes() -> None:
    evil = "\x1b[2J\u202e"
    one = step(1, evil, f"jump {evil}", depth=0)
    assert one.rule is not None
    text = walked(replace(one, rule=replace(one.rule, source=evil)), step(2, evil, f"jump {evil}", depth=0))
    assert {ch for ch in text if not ch.isprintable()} == {"\n"}
