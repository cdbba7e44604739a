"""One rule as `iptables-save` would write it; the inverse of `kdiag.parse.iptables_rule`."""

from __future__ import annotations

import re

from kdiag.model.rules import Option, Rule
from kdiag.parse.iptables_rule import FRAGMENT

_SAFE_WORD = re.compile(r"[^\s\"\\'!-][^\s\"\\']*")


def format_rule(rule: Rule) -> str:
    """The rule as `iptables-save` would write it; the inverse of reading but for `line` and `text`.

    Words that were not understood are written quoted right behind the chain, where they are not understood again.
    """
    words = ["-A", rule.chain, *(_quoted(word) for word in rule.unknown)]
    for flag, networks in (("-s", rule.source), ("-d", rule.destination)):
        if networks is not None:
            words += _flag(flag, ",".join(str(network) for network in networks.networks), networks.negated)
    for flag, match in (("-i", rule.in_interface), ("-o", rule.out_interface), ("-p", rule.protocol)):
        if match is not None:
            words += _flag(flag, match.name, match.negated)
    words += _format_matches(rule)
    if rule.target is not None:
        words += ["-g" if rule.goto else "-j", _word(rule.target)]
    for option in rule.target_options:
        words += _format_option(option)
    return " ".join(words)


def _format_matches(rule: Rule) -> list[str]:
    """All `-m` with their options, in written order; an option whose module is not named stands where it stood."""
    words: list[str] = []
    pending = list(rule.matches)
    comment = rule.comment
    if comment is not None and "comment" not in rule.modules:
        words += ["--comment", _quoted(comment)]
    later = list(rule.modules)
    current: str | None = None
    while True:
        written: set[str] = set()
        while pending and (pending[0].module == current or pending[0].module not in later):
            option = pending[0]
            if option.name in written and option.module == current and current in later:
                break
            written.add(option.name)
            words += _format_option(pending.pop(0))
        if not later:
            break
        current = later.pop(0)
        words += ["-m", _word(current)]
        if current == "comment" and comment is not None:
            words += ["--comment", _quoted(comment)]
            comment = None
    return words


def _format_option(option: Option) -> list[str]:
    words = ["!"] if option.negated else []
    if option.name == FRAGMENT.name and option.module == FRAGMENT.module:
        return [*words, "-f"]
    return [*words, f"--{option.name}", *(_word(value) for value in option.values)]


def _flag(flag: str, value: str, negated: bool) -> list[str]:
    return ["!", flag, _word(value)] if negated else [flag, _word(value)]


def _word(value: str) -> str:
    return value if _SAFE_WORD.fullmatch(value) else _quoted(value)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'")
    return f'"{escaped}"'
