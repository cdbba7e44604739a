"""What a command of the command line is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from kdiag.cli.declared import OptionGroup


class Command:
    """A command: `function` has the options as annotated parameters, by name alone (see `kdiag.cli.declared`), and
    returns the exit code.

    `summary` is one line for the list of commands, `details` paragraphs for its own help, `examples` what to type (without
    the program's name) and what that does: each is a line that works as it stands, given a cluster. `groups` are parameters of
    the function that stand for several options: classes of which each field is one.
    """

    def __init__(
        self,
        *,
        slug: str,
        summary: str,
        details: str,
        function: Callable[..., int],
        examples: Sequence[tuple[str, str]] = (),
        groups: Mapping[str, type[OptionGroup]] = MappingProxyType({}),
    ) -> None:
        self.slug = slug
        self.summary = summary
        self.details = details
        self.function = function
        self.examples = examples
        self.groups = groups

    def run(self, values: Mapping[str, Any]) -> int:
        """Calls the function with the values of options and arguments, by name; one that is not there has its default."""
        own = dict(values)
        for name, group in self.groups.items():
            own[name] = group(**{option: own.pop(option) for option in group.defaults() if option in own})
        return self.function(**own)
