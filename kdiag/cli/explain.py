"""`kdiag explain`: the documentation of the checks."""

from __future__ import annotations

from typing import Annotated

from kdiag.cli import options
from kdiag.cli.command import Command
from kdiag.cli.declared import Argument
from kdiag.cli.judge import EXIT_CLEAN, named_codes
from kdiag.cli.output import emit, style_for


def explain(
    *,
    code: Annotated[
        str | None,
        Argument(
            metavar="[CODE]",
            help="A check, by code or name; KD2 stands for all codes that begin so. Default: a list of all.",
            complete="codes",
        ),
    ] = None,
    color: options.ColourOption = options.Colour.AUTO,
    debug: options.DebugOption = False,
) -> int:
    """One page, several, or the list."""
    from kdiag.checks import all_checks
    from kdiag.checks.examples import example_of
    from kdiag.render.reference import check_list, check_page

    del debug
    style = style_for(color)
    if code is None:
        emit(check_list(all_checks(), style))
        return EXIT_CLEAN
    wanted = named_codes("CODE", [code])
    emit(
        "\n\n".join(check_page(check, style, example_of(check.code)) for check in all_checks() if check.code in wanted)
    )
    return EXIT_CLEAN


COMMAND = Command(
    slug="explain",
    summary="Explain a check, or list all of them.",
    details="What the check reports, what the fault does to traffic, how it is found, and what to do about it; with an example.",
    function=explain,
    examples=(
        ("explain", "a list of all checks"),
        ("explain KD223", "one check"),
        ("explain KD1", "all checks of address ranges"),
    ),
)
