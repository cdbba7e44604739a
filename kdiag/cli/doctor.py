"""`kdiag doctor`: can kdiag do its work here?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from kdiag.cli import options
from kdiag.cli.command import Command
from kdiag.cli.declared import Option
from kdiag.cli.judge import EXIT_CLEAN, EXIT_INCOMPLETE
from kdiag.cli.live import LIVE, LiveOptions, order_of
from kdiag.cli.output import emit, style_for
from kdiag.errors import UsageError

if TYPE_CHECKING:
    from kdiag.gather.doctor import Ability
    from kdiag.render.style import Style


def doctor(
    *,
    node: Annotated[
        list[str] | None,
        Option(
            "--node",
            metavar="NAME",
            help="Try only this node. May be repeated.",
            show_default=False,
            complete="nodes",
        ),
    ] = None,
    no_nodes: Annotated[bool, Option("--no-nodes", help="Try nothing but the API.")] = False,
    config: options.ConfigOption = None,
    no_config: options.NoConfigOption = False,
    live: LiveOptions,
    color: options.ColourOption = options.Colour.AUTO,
    debug: options.DebugOption = False,
) -> int:
    """Options → what works and what does not → a table."""
    from kdiag.cli.progress import watch_for
    from kdiag.gather.doctor import examine

    del config, no_config, debug  # see kdiag.cli.judge
    if no_nodes and node:
        raise UsageError("--node and --no-nodes exclude each other")
    order = order_of(live, nodes=node or (), without_nodes=no_nodes)
    abilities = examine(order, kubeconfig=live.kubeconfig, context=live.context, watch=watch_for())
    emit(_table(abilities, style_for(color)))
    return EXIT_INCOMPLETE if any(item.ok is False for item in abilities) else EXIT_CLEAN


def _table(abilities: Sequence[Ability], style: Style) -> str:
    """A table of results; below it what to do, each advice once: it may be long, and is there to be copied."""
    from kdiag.render.layout import count, paragraphs, table, visible

    words = {True: "ok", False: "FAILED", None: "-"}
    rows = [(words[item.ok], item.subject, item.detail) for item in abilities]
    lines = table(("", "WHAT", "RESULT"), rows, width=style.width, whole=2)
    advice: dict[str, list[str]] = {}
    for item in abilities:
        if item.ok is False and item.remedy:
            advice.setdefault(item.remedy, []).append(item.subject)
    if advice:
        lines += ["", "What to do:"]
    for remedy, subjects in advice.items():
        lines += paragraphs(", ".join(subjects), style.width, indent="    ", first="  ")
        lines.append(f"    {visible(remedy)}")
    failed = sum(1 for item in abilities if item.ok is False)
    lines += ["", f"{failed} of {count(len(abilities), 'thing')} failed" if failed else "kdiag can do its work here"]
    return "\n".join(lines) + "\n"


COMMAND = Command(
    slug="doctor",
    summary="Try whether kdiag can do its work here.",
    details=(
        "Asks the API for each kind that kdiag reads, logs in to every node, and looks whether the programs are there that "
        "show its rules and whether they may be run. Reads no rules, and changes nothing.\n\n"
        "Exit codes: 0 all works, 3 something does not."
    ),
    function=doctor,
    groups=LIVE,
    examples=(
        ("doctor", "can everything be read in the cluster of the current context?"),
        ("doctor --node node02 --ssh-user admin", "is it possible to log in to one node?"),
    ),
)
