"""`kubectl kdiag`: kubectl runs the program `kubectl-kdiag`, and `kubectl_complete-kdiag` after TAB."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kdiag.cli.fast_completion import offered
from kdiag.cli.in_time import answer_in_time

PLUGIN = "kubectl kdiag"
"""The program's name in usage texts."""

_WITH_VALUE = ("-n", "--namespace", "-o", "--output", "--context", "--kubeconfig")
_WITHOUT_VALUE = ("-A", "--all-namespaces", "-v", "-vv", "--verbose")
_NO_FILES, _FILES = 4, 0
"""Cobra's directives, of which kubectl wants one in the last line (ShellCompDirectiveNoFileComp, …Default)."""


def main() -> int:
    """`kubectl-kdiag`: kdiag as a plugin of kubectl, with the arguments of the process."""
    try:
        from kdiag.cli.main import run
    except KeyboardInterrupt:
        return 130
    return run(as_kdiag_takes(sys.argv[1:]), program=PLUGIN)


def complete() -> int:
    """`kubectl_complete-kdiag`: prints what fits, one a line, then the directive. The last argument is what was begun."""
    return answer_in_time(_complete, otherwise=f":{_NO_FILES}\n")


def _complete() -> int:
    words = as_kdiag_takes(sys.argv[1:-1])
    try:
        lines = _fitting(words, sys.argv[-1] if len(sys.argv) > 1 else "")
    except Exception:
        # At a prompt there is no place for an error.
        lines = [f":{_NO_FILES}"]
    print("\n".join(lines))
    return 0


def as_kdiag_takes(arguments: Sequence[str]) -> list[str]:
    """The arguments of a user of kubectl: its options may stand before the command, and `-n=shop` means `-n shop`."""
    words = [_without_equals(word) for word in arguments]
    position = 0
    while position < len(words):
        word = words[position]
        if word in _WITH_VALUE:
            position += 2
        elif (
            word in _WITHOUT_VALUE
            or word.startswith(tuple(f"{known}=" for known in _WITH_VALUE))
            or word[:2] in ("-n", "-o")
            and len(word) > 2
            and not word.startswith("--")
        ):
            position += 1
        else:
            break
    if position >= len(words) or words[position].startswith("-"):
        return words
    return [words[position], *words[:position], *words[position + 1 :]]


def _without_equals(word: str) -> str:
    return f"{word[:2]}{word[3:]}" if word[:3] in ("-n=", "-o=") else word


def _fitting(words: list[str], incomplete: str) -> list[str]:
    found, files = offered(words, incomplete)
    lines = [f"{word}\t{means}" if means else word for word, means in found]
    return [*lines, f":{_FILES if files else _NO_FILES}"]
