"""What commands declare, as typer takes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from kdiag.cli import completion
from kdiag.cli.command import Command
from kdiag.cli.declared import Argument, Option, OptionGroup
from kdiag.cli.output_type import OutputType
from kdiag.cli.seconds_type import SecondsType


def typer_function(command: Command) -> Callable[..., int]:
    """A function with every option and argument of the command as a parameter, annotated with typer's own words."""

    def function(**values: Any) -> int:
        return command.run(values)

    parameters = [item.replace(annotation=_annotation(item.annotation)) for item in _declared(command)]
    function.__annotations__ = {item.name: item.annotation for item in parameters} | {"return": int}
    function.__dict__["__signature__"] = inspect.Signature(parameters, return_annotation=int)
    return function


def _declared(command: Command) -> Iterator[inspect.Parameter]:
    """The parameters of the command's function that are options or arguments; those of groups where the group stands."""
    hints = get_type_hints(command.function, include_extras=True)
    for parameter in inspect.signature(command.function).parameters.values():
        if parameter.name in command.groups:
            yield from _of_group(command.groups[parameter.name])
        elif get_origin(hints[parameter.name]) is Annotated:
            yield parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)


def _of_group(group: type[OptionGroup]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for name, default in group.defaults().items():
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])


def _annotation(annotation: Any) -> Any:
    value_type, declared = get_args(annotation)
    return Annotated[value_type, _typer_words(declared, of_seconds=float in (value_type, *get_args(value_type)))]


def _typer_words(declared: Option | Argument, *, of_seconds: bool) -> Any:
    words: Mapping[str, Any] = declared.words
    if declared.complete is not None:
        words = {**words, "autocompletion": getattr(completion, f"complete_{declared.complete}")}
    if isinstance(declared, Argument):
        return typer.Argument(**words)
    if declared.formats is not None:
        words = {**words, "click_type": OutputType(declared.formats)}
    if of_seconds:
        words = {**words, "click_type": SecondsType(min=declared.words["min"], max=declared.words["max"])}
    return typer.Option(*declared.names, **words)
