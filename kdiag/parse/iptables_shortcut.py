"""A short cut for the rules that a node has hundreds of thousands of: those kube-proxy writes for each Service.

It only saves time: what it returns is what `kdiag.parse.iptables_rule.parse_rule` returns for the same line, and what it
does not recognise at once it leaves to that.
"""

from __future__ import annotations

import re
from functools import lru_cache
from sys import intern

from kdiag.model.rules import Option, Rule
from kdiag.parse.iptables_rule import build_rule, name_match, network_match, option_of

# Nothing that was passed over is looked at again: what may be left out begins as nothing else does.
_SHAPE = re.compile(
    r"-A (\S++)"
    r"(?: (! )?+-s ([0-9a-f:./]++))?+"
    r"(?: (! )?+-d ([0-9a-f:./]++))?+"
    r"(?: -p (tcp|udp|sctp))?+"
    r'(?: -m comment --comment "([^"\\]*+)")?+'
    r"(?: -m (tcp|udp|sctp)(?: --dport (\d++))?+)?+"
    r"(?: -m statistic --mode random --probability ([0-9.]++))?+"
    r" -j ([A-Z][\w-]*+)"
    r"(?: --to-destination ([0-9a-f:.\[\]]++))?+"
)


def quick_rule(text: str, *, six: bool, table: str, line: int) -> Rule | None:
    """The rule of an `-A` line in one of kube-proxy's usual shapes, None for any other line."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        return None
    (
        chain,
        not_source,
        source_text,
        not_destination,
        destination_text,
        protocol,
        comment,
        ports_module,
        ports,
        share,
        target,
        goal,
    ) = found.groups()
    source = destination = None
    if source_text is not None:
        source = network_match(source_text, not_source is not None, six)
        if source is None:
            return None
    if destination_text is not None:
        destination = network_match(destination_text, not_destination is not None, six)
        if destination is None:
            return None
    modules, matches = _modules_and_matches(comment is not None, ports_module, ports, share)
    return build_rule(
        table,
        intern(chain),
        line,
        text,
        name_match(protocol, False) if protocol is not None else None,
        source,
        destination,
        None,
        None,
        modules,
        matches,
        intern(target),
        False,
        (option_of(target, "to-destination", (goal,), False),) if goal is not None else (),
        comment,
        (),
    )


@lru_cache(maxsize=65536)
def _modules_and_matches(
    commented: bool, ports_module: str | None, ports: str | None, share: str | None
) -> tuple[tuple[str, ...], tuple[Option, ...]]:
    modules: list[str] = ["comment"] if commented else []
    matches: list[Option] = []
    if ports_module is not None:
        modules.append(ports_module)
        if ports is not None:
            matches.append(option_of(ports_module, "dport", (ports,), False))
    if share is not None:
        modules.append("statistic")
        matches.append(option_of("statistic", "mode", ("random",), False))
        matches.append(option_of("statistic", "probability", (share,), False))
    return tuple(modules), tuple(matches)
