"""A line that is read without click means what it means to click; all others are left to it."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.cli import plain_line
from kdiag.cli.app import built_command
from kdiag.cli.command import Command
from kdiag.cli.commands import SLUGS, command_named
from kdiag.cli.fast_completion import read_table
from kdiag.errors import KdiagError
from tests.cli.conftest import Kdiag

RECORDED = ("preflight", "trace", "flags", "diff", "explain")
WANTED = {"trace": ["svc/web"], "diff": ["a.json", "b"], "explain": ["KD2"]}
"""Arguments."""
WORDS = ("shop/web", "text", "json=x.json", "jsn", "warning", "never", "", "-", "5", "/")


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def by_click(slug: str, words: Sequence[str]) -> Mapping[str, Any]:
    """What the function of a command gets from click and typer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Command, "run", lambda _, values: values)
        context = built_command(slug).make_context(slug, list(words))
        values: Mapping[str, Any] = context.command.invoke(context)
    return values


def with_defaults(command: Command, values: Mapping[str, Any]) -> Mapping[str, Any]:
    defaults = {
        item.name: item.default
        for item in signature(command.function).parameters.values()
        if item.name not in ("live", "plan")
    }
    for group in command.groups.values():
        defaults |= group.defaults()
    return {**defaults, **values}


def is_read_alike(slug: str, words: Sequence[str]) -> bool:
    """Whether a line is read at all; if it is, it is as click reads it, be it into an error of the settings."""
    try:
        plain = plain_line.read([slug, *words])
    except KdiagError as error:
        with pytest.raises(type(error), match=re.escape(error.message)):
            by_click(slug, words)
        return True
    if plain is not None:
        assert plain[0] is command_named(slug)
        assert with_defaults(*plain) == by_click(slug, words), words
    return plain is not None


def lines(slug: str) -> Iterator[list[str]]:
    table = read_table(slug)
    targets = WANTED.get(slug, [])
    demo = ["--demo"] if any("--demo" in option["names"] for option in table["options"]) else []
    yield demo
    yield [*demo, "--snapshot", "x", *targets]
    yield [*demo, "--no-config", "a", "b"]
    yield [*targets, "--", *demo]
    yield [*targets, "--dem"]
    yield [*targets, "--demo=yes"]
    for option in table["options"]:
        for name in option["names"]:
            yield [*targets, *demo, name]
            for word in WORDS:
                yield [*targets, *demo, name, word]
                yield [name, word, *targets, f"{name}={word}", *demo]
                yield [*targets, *demo, name, word, name, "text"]
                yield [*targets, *demo, f"{name}{word}"]


@pytest.mark.parametrize("slug", RECORDED)
def test_the_same_values_as_click(slug: str) -> None:
    read = sum(is_read_alike(slug, words) for words in lines(slug))
    assert read >= (5 if slug == "explain" else 100)  # which has hardly any options


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--demo"], {"demo": True}),
        (["-o", "json", "--snapshot=x", "shop/web"], {"snapshot": Path("x"), "service": "shop/web"}),
        (["--demo", "--fail-on", "warning", "--no-config", "-n", "shop"], {"namespace": "shop", "no_config": True}),
        (["--select", "KD1", "--demo", "--select", "KD2", "--node=a"], {"select": ["KD1", "KD2"], "node": ["a"]}),
        (["--demo", "--ssh-user", "joe"], {"ssh_user": "joe"}),
    ],
)
def test_usual_lines_are_read(words: list[str], values: Mapping[str, Any]) -> None:
    plain = plain_line.read(["preflight", *words])
    assert plain is not None
    assert {name: plain[1][name] for name in values} == values
    assert with_defaults(*plain) == by_click("preflight", words)


def test_commands_without_a_cluster_need_not_name_one() -> None:
    assert plain_line.read(["explain"]) == (command_named("explain"), {})
    assert plain_line.read(["diff", "a", "b", "-o", "json"]) is not None
    assert plain_line.read(["diff", "a"]) is None


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--demo"],
        ["preflight"],
        ["preflight", "--demo", "--help"],
        ["preflight", "--demo", "-v"],
        ["preflight", "--demo", "-An", "shop"],
        ["preflight", "--demo", "--settle", "3"],
        ["preflight", "--demo", "--parallel", "0"],
        ["preflight", "--demo", "--node"],
        ["preflight", "--demo", "--node", "--no-nodes"],
        ["preflight", "--demo", "-o", "jsn"],
        ["preflight", "--demo", "--fail-on", "none"],
        ["preflight", "--demo", "--", "a"],
        ["preflight", "--demo", "a", "b"],
        ["trace", "--demo"],
        ["explain", "--demo"],
        ["no-such-command", "--demo"],
    ],
)
def test_what_click_has_to_read(words: list[str]) -> None:
    assert plain_line.read(words) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "closed"
    path.touch(mode=0)
    assert plain_line.read(["flags", "--snapshot", str(path)]) is None


def test_settings_are_for_click(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = ["preflight", "--demo"]
    assert plain_line.read(line) is not None
    (tmp_path / "kdiag.toml").write_text('fail_on = "info"\n')
    assert plain_line.read(line) is None
    assert plain_line.read([*line, "--no-config"]) is not None
    monkeypatch.setenv("KDIAG_COLOR", "never")
    assert plain_line.read([*line, "--no-config"]) is None


def test_completion_is_for_click(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_KDIAG_COMPLETE", "source_bash")
    assert plain_line.read(["preflight", "--demo"]) is None


@given(
    slug=st.sampled_from(SLUGS),
    chosen=st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(WORDS), st.sampled_from(("alone", "beside", "joined"))),
        max_size=6,
    ),
    service=st.sampled_from((None, "shop/web", "a b")),
)
def test_any_line(slug: str, chosen: list[tuple[int, str, str]], service: str | None) -> None:
    names = sorted(itertools.chain(*(option["names"] for option in read_table(slug)["options"])))
    words = ["--demo"] if service is None else ["--demo", service]
    for number, word, way in chosen:
        name = names[number % len(names)]
        words += [name] if way == "alone" else [name, word] if way == "beside" else [f"{name}={word}"]
    is_read_alike(slug, words)


def test_errors_are_told_as_ever(kdiag: Kdiag) -> None:
    outcome = kdiag("flags", "--snapshot", "no/such")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "error: cannot open snapshot no/such: No such file or directory\nhint: check the path\n"
    outcome = kdiag("preflight", "--demo", "--ssh-user", "joe")
    assert outcome.err.startswith("error: --ssh-user is for a live cluster, and --demo names a recorded one\n")


def test_interrupted_as_with_click(kdiag: Kdiag, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kdiag.pipeline.open_snapshot", interrupted)
    plain, by_click = kdiag("flags", "--demo"), kdiag("flags", "--demo", "-v")
    assert plain == by_click
    assert (plain.code, plain.err) == (130, "")
