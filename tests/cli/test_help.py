from __future__ import annotations

import shlex

import pytest

from kdiag.cli.app import built_command
from kdiag.cli.command import Command
from kdiag.cli.commands import all_commands
from tests.cli.conftest import Kdiag

EXAMPLES = [(command, line) for command in all_commands() for line, _ in command.examples]


@pytest.mark.parametrize("command", all_commands(), ids=lambda command: command.slug)
def test_every_command_has_examples(kdiag: Kdiag, command: Command) -> None:
    assert len(command.examples) >= 2
    out = kdiag(command.slug, "--help").out
    for line, does in command.examples:
        assert f"\n  kdiag {line}\n" in out
        assert does[:30] in out


@pytest.mark.parametrize(("command", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_example_parses(command: Command, line: str) -> None:
    words = shlex.split(line)
    assert words[0] == command.slug
    built_command(command.slug).make_context(command.slug, words[1:])


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["prefligth"], "did you mean preflight?"),
        (["preflight", "--namespce", "x"], "did you mean --namespace"),
        (["explain", "stale-nod"], "did you mean stale-node"),
        (["preflight", "--demo", "--select", "KD999"], "did you mean KD"),
        (["preflight", "--demo", "--node", "nod02"], "did you mean node0"),
        (["preflight", "--demo", "default/wbe"], "did you mean default/web"),
        (["trace", "--demo", "svc/local-clutser"], "did you mean default/local-cluster"),
    ],
)
def test_nearest_name(kdiag: Kdiag, arguments: list[str], hint: str) -> None:
    outcome = kdiag(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"\nhint: {hint}" in outcome.err
