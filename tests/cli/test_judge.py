from __future__ import annotations

import pytest
from msgspec.structs import replace

from kdiag.checks import all_checks
from kdiag.cli.completion import complete_codes
from kdiag.cli.judge import exit_code, named_codes, refuse_if_nothing_is_left, selected_codes, wanted_services
from kdiag.cli.options import FailOn
from kdiag.cli.trace import exit_code as trace_exit_code
from kdiag.errors import UsageError
from kdiag.model.objects import ObjectKey
from kdiag.model.report import GapKind
from tests.cli.conftest import Kdiag
from tests.render.samples import HEALTHY, REPORT, STALE, TRACE, UNEVEN

FAILED = REPORT.gaps[0]
CODES = [check.code for check in all_checks()]


@pytest.mark.parametrize(
    ("findings", "gaps", "fail_on", "code"),
    [
        ((), (), FailOn.INFO, 0),
        ((STALE,), (), FailOn.ERROR, 1),
        ((UNEVEN,), (), FailOn.ERROR, 0),
        ((UNEVEN,), (), FailOn.WARNING, 1),
        ((UNEVEN,), (), FailOn.INFO, 1),
        ((), (FAILED,), FailOn.ERROR, 3),
        ((UNEVEN,), (FAILED,), FailOn.ERROR, 3),
        ((STALE,), (FAILED,), FailOn.ERROR, 1),
        ((), (replace(FAILED, kind=GapKind.NOT_ASKED),), FailOn.ERROR, 0),
        ((), (replace(FAILED, kind=GapKind.NOT_APPLICABLE),), FailOn.ERROR, 0),
    ],
)
def test_exit_codes(findings: tuple[object, ...], gaps: tuple[object, ...], fail_on: FailOn, code: int) -> None:
    assert exit_code(replace(HEALTHY, findings=findings, gaps=gaps), fail_on) == code


@pytest.mark.parametrize(
    ("verdicts", "code"), [((), 0), ((True,), 0), ((True, None), 3), ((None, False), 1), ((True, False), 1)]
)
def test_exit_codes_of_a_trace(verdicts: tuple[bool | None, ...], code: int) -> None:
    told = tuple(replace(TRACE.verdicts[0], ok=ok) for ok in verdicts)
    assert trace_exit_code(replace(TRACE, verdicts=told)) == code


def test_all_checks_or_all_of_a_family() -> None:
    assert selected_codes("", ()) == ()
    assert selected_codes("KD2", ()) == ("KD2",)


def test_select_by_code_prefix_slug_and_list() -> None:
    third = tuple(code for code in CODES if code.startswith("KD3"))
    assert selected_codes("", ["KD3"]) == third
    assert selected_codes("", ["kd3"]) == third
    assert selected_codes("", [f"{CODES[0]}, {CODES[1]}"]) == tuple(CODES[:2])
    assert selected_codes("", [CODES[1], CODES[0], CODES[1]]) == tuple(CODES[:2])
    assert selected_codes("", [all_checks()[0].slug.upper()]) == (CODES[0],)


def test_select_stays_within_the_family() -> None:
    assert selected_codes("KD3", [f"KD3,{CODES[-1]}"]) == tuple(code for code in CODES if code.startswith("KD3"))
    with pytest.raises(UsageError) as caught:
        selected_codes("KD3", ["KD1"])
    assert caught.value.message == "--select KD1 names no check of this command, which runs KD3xx"


@pytest.mark.parametrize("word", ["KD999", "", "K", "everything", "D2"])
def test_unknown_codes_are_refused(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        named_codes("--ignore", [word])
    assert caught.value.message == f"--ignore: there is no check {word!r}"
    assert caught.value.hint


def test_nothing_left_to_run_is_refused() -> None:
    refuse_if_nothing_is_left((), ())
    refuse_if_nothing_is_left((), CODES[1:])
    refuse_if_nothing_is_left(("KD",), CODES[1:])
    with pytest.raises(UsageError):
        refuse_if_nothing_is_left((), CODES)
    with pytest.raises(UsageError):
        refuse_if_nothing_is_left((CODES[0],), (CODES[0],))


def test_services() -> None:
    assert wanted_services(None, None, all_namespaces=True) == ()
    assert wanted_services("web", None, all_namespaces=False) == (ObjectKey(namespace="default", name="web"),)
    assert wanted_services("web", "shop", all_namespaces=False) == (ObjectKey(namespace="shop", name="web"),)
    assert wanted_services("web", None, all_namespaces=True) == (ObjectKey(namespace="", name="web"),)


def test_completion_of_codes() -> None:
    assert (CODES[0], all_checks()[0].title) in complete_codes("")
    assert complete_codes(f"KD999,{CODES[0].lower()}") == [(f"KD999,{CODES[0]}", all_checks()[0].title)]
    assert complete_codes("x") == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["preflight", "--demo", "--context", "x"], "--context is for a live cluster, and --demo names a recorded one"),
        (
            ["flags", "--snapshot", "x", "--jump", "x"],
            "--jump is for a live cluster, and --snapshot names a recorded one",
        ),
        (["preflight", "--demo", "--snapshot", "x"], "--snapshot and --demo exclude each other"),
        (["preflight", "--demo", "--no-nodes", "--node", "a"], "--node and --no-nodes exclude each other"),
        (["preflight", "--demo", "-A", "-n", "a"], "--namespace and --all-namespaces exclude each other"),
        (["trace", "web", "--demo", "-A", "-n", "a"], "--namespace and --all-namespaces exclude each other"),
        (["trace", "web", "--demo", "--from", "x"], "'x' is no client"),
        (["preflight", "--demo", "--reserved", "x"], "'x' is no address range"),
        (["preflight", "--demo", "Web"], "'Web' is no Service name"),
        (["check-cidrs", "--demo", "--select", "KD3"], "--select KD3 names no check of this command, which runs KD1xx"),
        (["check-nodes", "--demo", "--ignore", "KD4"], "--select and --ignore leave no check to run"),
        (["explain", "KD999"], "CODE: there is no check 'KD999'"),
    ],
)
def test_contradictions_are_refused(kdiag: Kdiag, arguments: list[str], error: str) -> None:
    outcome = kdiag(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[0] == f"error: {error}"


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    "command", [("preflight",), ("check-rules",), ("flags",), ("trace", "svc/web"), ("collect", "-o", "x.tar.gz")]
)
def test_when_there_is_nothing_to_look_at(kdiag: Kdiag, command: tuple[str, ...]) -> None:
    outcome = kdiag(*command)
    assert (outcome.code, outcome.out) == (2, "")
    message, hint = outcome.err.splitlines()
    assert message == "error: there is no cluster to look at: ~/.kube/config does not exist"
    for option in ("--kubeconfig", "--snapshot PATH", "--demo"):
        assert option in hint
