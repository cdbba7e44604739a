"""`kdiag watch`: a live cluster again and again."""

from __future__ import annotations

import enum
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Annotated

from kdiag.cli import options
from kdiag.cli.command import Command
from kdiag.cli.declared import Option
from kdiag.cli.judge import EXIT_INCOMPLETE, exit_code, named_codes, refuse_if_nothing_is_left
from kdiag.cli.live import LIVE, LiveOptions, gather
from kdiag.cli.output import emit, style_for

if TYPE_CHECKING:
    from kdiag.model.report import Report

DEFAULT_INTERVAL_S = 60.0
EXIT_INTERRUPTED = 130
"""As in kdiag.cli.main, which imports the commands."""


class WatchFormat(enum.StrEnum):
    """The values of `-o`."""

    TEXT = "text"
    JSON = "json"


def watch(
    *,
    interval: Annotated[
        float,
        Option("--interval", metavar="SECONDS", min=0, help="From the start of one run to that of the next."),
    ] = DEFAULT_INTERVAL_S,
    count: Annotated[
        int | None,
        Option("--count", metavar="NUMBER", min=1, help="End after so many runs.", show_default=False),
    ] = None,
    output: Annotated[
        WatchFormat, Option("--output", "-o", help="Lines for people, or one JSON object a line.")
    ] = WatchFormat.TEXT,
    fail_on: options.FailOnOption = options.FailOn.ERROR,
    select: options.SelectOption = None,
    ignore: options.IgnoreOption = None,
    no_nodes: options.NoNodesOption = False,
    node: options.NodesOption = None,
    namespace: options.NamespaceOption = None,
    live: LiveOptions,
    color: options.ColourOption = options.Colour.AUTO,
    debug: options.DebugOption = False,
) -> int:
    """Runs until --count or Ctrl-C; the exit code is that of the last run that was not interrupted."""
    from kdiag import pipeline
    from kdiag.pipeline.watch import watch_looks
    from kdiag.render import watch as lines

    del debug
    scope = pipeline.Scope(
        select=named_codes("--select", select or ()),
        ignore=named_codes("--ignore", ignore or ()),
        namespace=namespace,
        nodes=tuple(dict.fromkeys(node or ())),
        without_nodes=no_nodes,
        settle_s=live.settle,
    )
    refuse_if_nothing_is_left(scope.select, scope.ignore)
    style, as_json = style_for(color), output is WatchFormat.JSON
    runs = failed = new = gone = 0
    last: Report | None = None
    code = EXIT_INTERRUPTED
    with _interrupts() as interrupted:

        def look() -> Report:
            report = pipeline.diagnose(gather(live, nodes=scope.nodes, without_nodes=scope.without_nodes), scope)
            if interrupted:
                # Gathering ends early and gives what it has: that says nothing about what changed.
                raise KeyboardInterrupt
            return report

        looks = watch_looks(look, interval_s=interval, count=count, now=lambda: datetime.now(UTC), wait=time.sleep)
        try:
            for item in looks:
                runs = item.number
                if item.change is None:
                    failed += 1
                    code = EXIT_INCOMPLETE
                    text = lines.failure_document(item.failure, item.at, runs)
                    emit((text if as_json else lines.failure_line(item.failure, item.at)) + "\n")
                    continue
                last = item.change.after
                code = exit_code(last, fail_on)
                new += len(item.change.new)
                gone += len(item.change.gone)
                told = (
                    lines.change_documents(item.change, item.at, runs)
                    if as_json
                    else lines.change_lines(item.change, item.at, style)
                )
                emit("".join(f"{line}\n" for line in told))
        except KeyboardInterrupt:
            if last is None:
                return EXIT_INTERRUPTED
    tell = lines.summary_document if as_json else lines.summary_text
    emit(tell(runs, failed, new, gone, last, datetime.now(UTC)) + "\n")
    return code


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that has an entry once Ctrl-C was pressed, whoever handled it."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


COMMAND = Command(
    slug="watch",
    summary="Look again and again, and tell what changes.",
    details=(
        "A run every --interval seconds. The first tells everything that is found; after that a line is printed for each "
        "finding and each gap that is new (+) or gone (-), and nothing while nothing changes. A run that fails is told and "
        "the next one tried.\n\n"
        "Ctrl-C ends it with a summary. Exit codes: those of preflight for the last run, 130 if there was none."
    ),
    function=watch,
    groups=LIVE,
    examples=(
        ("watch --interval 300", "look every five minutes, and print what changes"),
        ("watch -o json --count 10", "ten times, one JSON document a line"),
    ),
)
