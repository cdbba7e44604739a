"""`kdiag diff`: two looks at a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kdiag.cli import options
from kdiag.cli.answers import answer, wanted_answers
from kdiag.cli.command import Command
from kdiag.cli.declared import Argument, Option
from kdiag.cli.judge import EXIT_CLEAN, EXIT_FINDINGS, EXIT_INCOMPLETE, named_codes

if TYPE_CHECKING:
    from kdiag.model.change import Change


def diff(
    *,
    before: Annotated[
        Path,
        Argument(
            metavar="BEFORE",
            help="A snapshot, or a report that -o json wrote.",
        ),
    ],
    after: Annotated[
        Path,
        Argument(
            metavar="AFTER",
            help="The same, taken later.",
        ),
    ],
    output: options.DiffOutputOption = None,
    fail_on: Annotated[
        options.FailOn, Option("--fail-on", help="Exit with 1 if a new finding is at least as severe as this.")
    ] = options.FailOn.ERROR,
    select: options.SelectOption = None,
    ignore: options.IgnoreOption = None,
    no_nodes: options.NoNodesOption = False,
    namespace: options.NamespaceOption = None,
    color: options.ColourOption = options.Colour.AUTO,
    debug: options.DebugOption = False,
) -> int:
    """Options → two looks → answer → exit code."""
    from kdiag.pipeline import Scope
    from kdiag.pipeline.diff import compare_looks, narrowed, open_look
    from kdiag.render.diff import DIFF_RENDERERS

    del debug
    targets = wanted_answers(output)
    scope = Scope(
        select=named_codes("--select", select or ()),
        ignore=named_codes("--ignore", ignore or ()),
        namespace=namespace,
        without_nodes=no_nodes,
    )
    change = compare_looks(narrowed(open_look(before), scope), narrowed(open_look(after), scope), scope)
    answer(targets, color, lambda form, style: DIFF_RENDERERS[form.slug](change, style))
    return exit_code(change, fail_on)


def exit_code(change: Change, fail_on: options.FailOn) -> int:
    """1 with new findings at or above `fail_on`, else 3 with a new failed gap, else 0."""
    from kdiag.model.report import GapKind, Severity

    if any(finding.severity.rank <= Severity(fail_on.value).rank for finding in change.new):
        return EXIT_FINDINGS
    if any(gap.kind is GapKind.FAILED for gap in change.new_gaps):
        return EXIT_INCOMPLETE
    return EXIT_CLEAN


COMMAND = Command(
    slug="diff",
    summary="Show what changed between two snapshots or reports.",
    details=(
        "New, gone and unchanged findings; of two snapshots also what the nodes' rules do otherwise, Service by Service: "
        "addresses programmed and gone, endpoints added and removed, traffic refused. Findings are the same if their "
        "cause, node, Service, port and address are, whatever their words.\n\n"
        "Exit codes: 0 nothing new, 1 new findings at or above --fail-on, 3 something could not be examined that could be "
        "before."
    ),
    function=diff,
    examples=(
        ("diff monday.tar.gz tuesday.tar.gz", "what changed between two recordings?"),
        ("diff before.json after.json -o markdown", "between two reports, for a comment on a pull request"),
    ),
)
