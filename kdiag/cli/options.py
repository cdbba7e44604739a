"""The options that commands share, each declared once.

Nothing here may import what `kdiag --help` does not need (tests/cli/test_startup.py watches that).
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_SETTLE_S = 30.0
"""How long a proxy may lag behind the API."""


class OutputFormat(enum.StrEnum):
    """The values of `-o`: the slugs of `kdiag.render.FORMATS`, which is too expensive to import for a list of words."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


class FailOn(enum.StrEnum):
    """The values of `--fail-on`, from the most severe to the least."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Colour(enum.StrEnum):
    """The values of `--color`."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def complete_codes(incomplete: str) -> list[tuple[str, str]]:
    """Codes of checks with their titles, for shell completion; after a comma, for the last code only."""
    from kdiag.checks import CHECKS

    before, comma, last = incomplete.rpartition(",")
    return [(before + comma + check.code, check.title) for check in CHECKS if check.code.startswith(last.upper())]


SnapshotOption = Annotated[
    Path | None,
    typer.Option(
        "--snapshot",
        metavar="PATH",
        help="Read the recorded cluster in this directory or archive (.tar.gz) instead of the live one.",
        show_default=False,
    ),
]
DemoOption = Annotated[
    bool, typer.Option("--demo", help="Read the recorded cluster, with faults in it, that comes with kdiag.")
]
OutputOption = Annotated[OutputFormat, typer.Option("--output", "-o", help="Format of the answer.")]
FailOnOption = Annotated[
    FailOn, typer.Option("--fail-on", help="Exit with 1 if a finding is at least as severe as this.")
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="CODE[,CODE]",
        help="Run only these checks; KD2 stands for all codes that begin so. May be repeated.",
        show_default=False,
        autocompletion=complete_codes,
    ),
]
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="CODE[,CODE]",
        help="Leave these checks out, also of those that --select names. May be repeated.",
        show_default=False,
        autocompletion=complete_codes,
    ),
]
NoNodesOption = Annotated[bool, typer.Option("--no-nodes", help="Look at nothing but the API's answers.")]
NodesOption = Annotated[
    list[str] | None,
    typer.Option("--node", metavar="NAME", help="Judge only this node. May be repeated.", show_default=False),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", metavar="NAME", help="Judge only the Services of this namespace.", show_default=False
    ),
]
AllNamespacesOption = Annotated[
    bool,
    typer.Option(
        "--all-namespaces", "-A", help="Judge the Services of all namespaces, or look a NAME up in all of them."
    ),
]
ReservedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reserved",
        metavar="CIDR",
        help="A range that is taken elsewhere in your network, and must not overlap with any of the cluster's. May be repeated.",
        show_default=False,
    ),
]
ColourOption = Annotated[
    Colour, typer.Option("--color", help="Colour the text: on a terminal unless NO_COLOR is set, always or never.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error, too.")]
ServiceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[SERVICE]",
        help="Judge only this Service: NAME, NAMESPACE/NAME or svc/NAME. Default: all.",
        show_default=False,
    ),
]
