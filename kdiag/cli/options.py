"""The options that commands share, each declared once.

Nothing here may import what `kdiag --help` does not need (tests/cli/test_startup.py watches that).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from kdiag.cli.declared import Argument, Option
from kdiag.cli.formats import DIFF_FORMATS, FACTS_FORMATS, REPORT_FORMATS, TRACE_FORMATS, OutputFormat, OutputTarget

DEFAULT_SETTLE_S = 30.0
"""How long a proxy may lag behind the API."""


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


SnapshotOption = Annotated[
    Path | None,
    Option(
        "--snapshot",
        metavar="PATH",
        help="Read the recorded cluster in this directory or archive (.tar.gz) instead of the live one.",
        show_default=False,
    ),
]
DemoOption = Annotated[
    bool, Option("--demo", help="Read the recorded cluster, with faults in it, that comes with kdiag.")
]


def _output_option(formats: Sequence[OutputFormat]) -> Option:
    named = ", ".join(formats)
    return Option(
        "--output",
        "-o",
        metavar="FORMAT[=FILE]",
        formats=formats,
        help=f"Format of the answer: {named}. With =FILE it goes there. May be repeated, one of them without a file.",
        show_default=False,
    )


ReportOutputOption = Annotated[list[OutputTarget] | None, _output_option(REPORT_FORMATS)]
TraceOutputOption = Annotated[list[OutputTarget] | None, _output_option(TRACE_FORMATS)]
DiffOutputOption = Annotated[list[OutputTarget] | None, _output_option(DIFF_FORMATS)]
FactsOutputOption = Annotated[list[OutputTarget] | None, _output_option(FACTS_FORMATS)]
BaselineOption = Annotated[
    Path | None,
    Option(
        "--baseline",
        metavar="FILE",
        help="Findings that this file accepts are shown, and do not count.",
        show_default=False,
    ),
]
WriteBaselineOption = Annotated[
    Path | None,
    Option(
        "--write-baseline",
        metavar="FILE",
        help="Write a file that accepts all findings, with reason, owner and expires to be filled in. Prints no findings.",
        show_default=False,
    ),
]
ForceOption = Annotated[bool, Option("--force", help="Let --write-baseline replace a file.")]
ConfigOption = Annotated[
    Path | None,
    Option(
        "--config",
        metavar="FILE",
        help="Take settings from this file. Default: kdiag.toml, or [tool.kdiag] in pyproject.toml, here or above.",
        show_default=False,
    ),
]
NoConfigOption = Annotated[bool, Option("--no-config", help="Take no settings from files.")]
FailOnOption = Annotated[FailOn, Option("--fail-on", help="Exit with 1 if a finding is at least as severe as this.")]
SelectOption = Annotated[
    list[str] | None,
    Option(
        "--select",
        metavar="CODE[,CODE]",
        help="Run only these checks; KD2 stands for all codes that begin so. May be repeated.",
        show_default=False,
        complete="codes",
    ),
]
IgnoreOption = Annotated[
    list[str] | None,
    Option(
        "--ignore",
        metavar="CODE[,CODE]",
        help="Leave these checks out, also of those that --select names. May be repeated.",
        show_default=False,
        complete="codes",
    ),
]
NoNodesOption = Annotated[bool, Option("--no-nodes", help="Look at nothing but the API's answers.")]
NodesOption = Annotated[
    list[str] | None,
    Option(
        "--node",
        metavar="NAME",
        help="Judge only this node. May be repeated.",
        show_default=False,
        complete="nodes",
    ),
]
NamespaceOption = Annotated[
    str | None,
    Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="Judge only the Services of this namespace.",
        show_default=False,
        complete="namespaces",
    ),
]
AllNamespacesOption = Annotated[
    bool,
    Option("--all-namespaces", "-A", help="Judge the Services of all namespaces, or look a NAME up in all of them."),
]
ReservedOption = Annotated[
    list[str] | None,
    Option(
        "--reserved",
        metavar="CIDR",
        help="A range that is taken elsewhere in your network, and must not overlap with any of the cluster's. May be repeated.",
        show_default=False,
    ),
]
ColourOption = Annotated[
    Colour, Option("--color", help="Colour the text: on a terminal unless NO_COLOR is set, always or never.")
]
DebugOption = Annotated[bool, Option("--debug", help="Print the traceback of an error, too.")]
ServiceArgument = Annotated[
    str | None,
    Argument(
        metavar="[SERVICE]",
        help="Judge only this Service: NAME, NAMESPACE/NAME or svc/NAME. Default: all.",
        complete="services",
    ),
]
