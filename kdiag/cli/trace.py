"""`kdiag trace`: the way of a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kdiag.cli import options
from kdiag.cli.answers import answer, wanted_answers
from kdiag.cli.command import Command
from kdiag.cli.declared import Argument, Option
from kdiag.cli.judge import EXIT_CLEAN, EXIT_FINDINGS, EXIT_INCOMPLETE
from kdiag.cli.live import LIVE, LiveOptions
from kdiag.cli.snapshots import open_wanted
from kdiag.errors import UsageError

if TYPE_CHECKING:
    from kdiag.model.trace import Trace


def trace(
    *,
    target: Annotated[
        str,
        Argument(
            metavar="TARGET",
            help="Where the packet goes: svc/NAME, NAMESPACE/NAME, IP:PORT/PROTOCOL or NODE:NODEPORT.",
            complete="targets",
        ),
    ],
    client: Annotated[
        str | None,
        Option(
            "--from",
            metavar="CLIENT",
            help="Where it comes from: pod/NAME, node/NAME or external. Default: all three.",
            show_default=False,
            complete="clients",
        ),
    ] = None,
    node: Annotated[
        str | None,
        Option(
            "--node",
            metavar="NAME",
            help="Walk the rules of this node. Default: all.",
            show_default=False,
            complete="nodes",
        ),
    ] = None,
    service_port: Annotated[
        str | None,
        Option("--port", metavar="NAME|NUMBER", help="Trace only this port of the Service.", show_default=False),
    ] = None,
    snapshot: options.SnapshotOption = None,
    demo: options.DemoOption = False,
    output: options.TraceOutputOption = None,
    namespace: Annotated[
        str | None,
        Option(
            "--namespace",
            "-n",
            metavar="NAME",
            help="Namespace of a Service or pod that is named without one. Default: default.",
            show_default=False,
            complete="namespaces",
        ),
    ] = None,
    all_namespaces: Annotated[
        bool, Option("--all-namespaces", "-A", help="Look a name without a namespace up in all of them.")
    ] = False,
    config: options.ConfigOption = None,
    no_config: options.NoConfigOption = False,
    live: LiveOptions,
    color: options.ColourOption = options.Colour.AUTO,
    debug: options.DebugOption = False,
) -> int:
    """Options → trace → answer → exit code."""
    from kdiag import pipeline
    from kdiag.parse.target import parse_trace_target

    del config, no_config, debug  # see kdiag.cli.judge
    targets = wanted_answers(output)
    if namespace is not None and all_namespaces:
        raise UsageError("--namespace and --all-namespaces exclude each other")
    wanted = parse_trace_target(
        target,
        namespace=namespace,
        any_namespace=all_namespaces,
        client=client,
        node=node,
        service_port=service_port,
    )
    gathered = open_wanted(snapshot, demo=demo, live=live, nodes=[node] if node is not None else ())
    found = pipeline.trace(gathered, wanted, pipeline.Scope(settle_s=live.settle, last=True))
    answer(targets, color, lambda form, style: form.trace(found, style))
    return exit_code(found)


def exit_code(found: Trace) -> int:
    """1 if it does not work somewhere, else 3 if that cannot be told everywhere, else 0."""
    if found.broken:
        return EXIT_FINDINGS
    if any(verdict.ok is None for verdict in found.verdicts):
        return EXIT_INCOMPLETE
    return EXIT_CLEAN


COMMAND = Command(
    slug="trace",
    summary="Show the way of a packet to a Service, rule by rule.",
    details=(
        "First whether it works, for every node and place of the client; then one walk in full, that of --node and --from "
        "or else the most telling one: the rules in the order in which the packet meets them, with the line of the dump, "
        "down to the endpoint; and what ought to have happened.\n\n"
        "Exit codes: 0 it works everywhere, 1 it does not, 3 it cannot be told."
    ),
    function=trace,
    groups=LIVE,
    examples=(
        ("trace svc/web --demo", "does the Service web work from everywhere, in the recorded cluster?"),
        ("trace svc/web --from pod/client --node node02 -n shop", "one way, rule by rule"),
        ("trace 10.96.0.10:53/UDP --demo -o mermaid", "the way to an address, as a picture for a wiki page"),
    ),
)
