"""Completion without the commands offers what click offers with them, and prints it as typer does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import typer._completion_classes as typer_completion
from click.shell_completion import ShellComplete, get_completion_class

from kdiag.cli import fast_completion
from kdiag.cli.app import COMMAND, built_command
from kdiag.cli.commands import SLUGS


def test_every_command_has_its_words_and_no_others_lie_about() -> None:
    directory = Path(fast_completion.__file__).parent / "words"
    assert {path.name for path in directory.iterdir()} == {f"{name}.json" for name in (fast_completion.ROOT, *SLUGS)}


def by_click(*typed: str) -> list[tuple[str, str]]:
    found = ShellComplete(COMMAND, {}, "kdiag", "").get_completions(list(typed[:-1]), typed[-1])
    return sorted((item.value, item.help or "") for item in found)


def fast(*typed: str) -> list[tuple[str, str]]:
    return sorted(fast_completion.offered(typed[:-1], typed[-1])[0])


def lines(command: click.Command) -> Iterator[list[str]]:
    """Command lines that end within every option and argument of a command."""
    source = [["--demo"], []]["demo" not in {parameter.name for parameter in command.params}]
    slug = command.name or ""
    for begun in ("", "-", "--", "--n", "-n", "d", "K", "KD2", "--no-such", "="):
        yield [slug, *source, begun]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            for option in parameter.opts:
                for begun in ("", "a", "s", "KD20", "KD201,KD4", "node", "-", "default"):
                    yield [slug, *source, option, begun]
                yield [slug, *source, option, "x", "--"]
                if not (parameter.is_flag or parameter.count):
                    yield [slug, *source, f"{option}="]
                    yield [slug, *source, f"{option}=a"]
    yield [slug, "one", ""]
    yield [slug, "one", "two", ""]
    known = {option for parameter in command.params for option in parameter.opts}
    if "-n" in known:
        yield [slug, *source, "-n", "kube-system", ""]
        yield [slug, *source, "-nkube-system", "k"]
    if "-A" in known:
        yield [slug, *source, "-vAn", "kube-system", "k"]
    if "--node" in known:
        yield [slug, *source, "--node=node01", "--node", ""]


@pytest.mark.parametrize("slug", sorted(SLUGS))
def test_the_same_words_as_click(slug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/no/such/file")
    asked = list(lines(built_command(slug)))
    assert [(line, fast(*line)) for line in asked] == [(line, by_click(*line)) for line in asked]


@pytest.mark.parametrize("line", [[""], ["c"], ["-"], ["--v"], ["--version", "ch"]])
def test_commands(line: list[str]) -> None:
    assert fast(*line) == by_click(*line)


@pytest.mark.parametrize("line", [["no-such", ""], ["no-such", "-"], ["explain", "--", "-"]])
def test_nothing_is_offered(line: list[str]) -> None:
    assert fast(*line) == []


@pytest.mark.parametrize(
    ("line", "files"),
    [
        (["preflight", "--snapshot", ""], True),
        (["preflight", "--snapshot=x"], True),
        (["preflight", "-f", "man"], True),
        (["diff", "monday.tar.gz", ""], True),
        (["diff", "a", "b", ""], False),
        (["preflight", "--demo", "--node", "x"], False),
        (["preflight", "--settle", ""], False),
        (["preflight", "--pod-cidr", "10"], False),
        (["preflight", "--demo", ""], False),
        (["preflight", "-"], False),
        (["no-such", ""], False),
        ([""], False),
    ],
)
def test_files_are_offered_where_they_belong(line: list[str], files: bool) -> None:
    assert fast_completion.offered(line[:-1], line[-1])[1] is files


def test_zsh_is_offered_files_only_where_they_belong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed, said in (("kdiag preflight --demo --node x", "\n"), ("kdiag preflight --snapshot x", "_files\n")):
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", typed)
        fast_completion.answer("complete_zsh")
        assert capsys.readouterr().out == said


QUESTIONS = (
    "kdiag ",
    "kdiag che",
    "kdiag preflight --demo de",
    "kdiag preflight --demo --node ",
    "kdiag explain KD22",
    "kdiag preflight --snapshot ",
    "kdiag diff ",
    "kdiag preflight --s",
    "kdiag trace --demo 'default/w",
    'kdiag explain "',
    "kdiag trace --demo --from node/",
)


@pytest.mark.parametrize(
    ("typed", "shell"), list(itertools.product(QUESTIONS, ("bash", "zsh", "fish get-args", "fish is-args")))
)
def test_the_same_text_as_typer(
    typed: str, shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # typer reads help as markup of rich's, which kdiag's is not.
    as_it_is: Callable[[str], str] = str
    monkeypatch.setattr(typer_completion, "_sanitize_help_text", as_it_is)
    shell, _, action = shell.partition(" ")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - (not typed.endswith(" "))))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", typed)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", action)
    completion = get_completion_class(shell)
    assert completion is not None
    expected, code = "", 0
    try:
        expected = completion(COMMAND, {}, "kdiag", "_KDIAG_COMPLETE").complete()
    except SystemExit as ended:
        code = int(ended.code or 0)
    # Bash and fish are told by the exit code whether to offer files.
    files = typed in ("kdiag preflight --snapshot ", "kdiag diff ")
    assert fast_completion.answer(f"complete_{shell}") == (code if action else not files if shell == "bash" else 0)
    assert capsys.readouterr().out.rstrip("\n") == expected
