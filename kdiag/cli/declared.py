"""How commands declare their options and arguments: a parameter is `Annotated` with one of these.

The words are typer's, which is told of them when it is needed (`kdiag.cli.by_typer`): to import it takes an eighth of the time
of a small run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, dataclass_transform


class Option:
    """An option. `complete` says what is offered after TAB (`nodes` for `kdiag.cli.completion.complete_nodes`), `formats`
    what `-o` may name. A value that is a float is a number of seconds (`kdiag.cli.seconds_type`)."""

    def __init__(
        self,
        *names: str,
        help: str,
        metavar: str | None = None,
        show_default: bool = True,
        min: float | None = None,
        max: float | None = None,
        rich_help_panel: str | None = None,
        complete: str | None = None,
        formats: Sequence[str] | None = None,
    ) -> None:
        self.names = names
        self.complete = complete
        self.formats = formats
        self.words: dict[str, Any] = {
            "help": help,
            "metavar": metavar,
            "show_default": show_default,
            "min": min,
            "max": max,
            "rich_help_panel": rich_help_panel,
        }


class Argument:
    """An argument. `complete` is that of Option."""

    def __init__(self, *, metavar: str, help: str, complete: str | None = None) -> None:
        self.complete = complete
        self.words: dict[str, Any] = {"help": help, "metavar": metavar, "show_default": False}


@dataclass_transform(kw_only_default=True, frozen_default=True)
class OptionGroup:
    """Options that several commands have: each attribute is one, annotated like a parameter, and has a default.

    A plain class: a NamedTuple compiles every annotation, which takes a hundredth of a small run.
    """

    def __init__(self, **given: Any) -> None:
        defaults = self.defaults()
        unknown = given.keys() - defaults
        if unknown:
            raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
        self.__dict__.update(defaults | given)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The options by name, each with its default."""
        return {name: getattr(cls, name) for name in cls.__annotations__}
