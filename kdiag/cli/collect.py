"""`kdiag collect`: a live cluster into a snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kdiag.cli import options
from kdiag.cli.command import Command
from kdiag.cli.declared import Option
from kdiag.cli.judge import EXIT_CLEAN, EXIT_INCOMPLETE
from kdiag.cli.live import LIVE, LiveOptions, gather
from kdiag.cli.output import emit, style_for
from kdiag.errors import UsageError

if TYPE_CHECKING:
    from kdiag.model.snapshot import Snapshot
    from kdiag.render.style import Style


def collect(
    *,
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Where to write the snapshot: a .tar.gz file, or a new directory.",
            show_default=False,
        ),
    ] = None,
    node: Annotated[
        list[str] | None,
        Option(
            "--node",
            metavar="NAME",
            help="Read only this node. May be repeated.",
            show_default=False,
            complete="nodes",
        ),
    ] = None,
    no_nodes: Annotated[bool, Option("--no-nodes", help="Read nothing but the API.")] = False,
    from_file: Annotated[
        list[str] | None,
        Option(
            "--from-file",
            metavar="NODE=FILE",
            help="Take what --print-script's script printed on this node from a file. May be repeated.",
            show_default=False,
        ),
    ] = None,
    print_script: Annotated[
        bool, Option("--print-script", help="Print the script that is run on nodes, and do nothing else.")
    ] = False,
    config: options.ConfigOption = None,
    no_config: options.NoConfigOption = False,
    live: LiveOptions,
    color: options.ColourOption = options.Colour.AUTO,
    debug: options.DebugOption = False,
) -> int:
    """Options → snapshot → file → what is in it and what is not."""
    del config, no_config, debug  # see kdiag.cli.judge
    if print_script:
        from kdiag.gather.script import Sudo, node_script

        emit(node_script(sudo=Sudo(live.sudo.value)))
        return EXIT_CLEAN
    if no_nodes and node:
        raise UsageError("--node and --no-nodes exclude each other")
    if output is None:
        raise UsageError("there is no --output to write the snapshot to", hint="kdiag collect -o cluster.tar.gz")
    from kdiag.gather.snapshot_writer import check_destination, write_snapshot
    from kdiag.model.report import GapKind

    check_destination(output)
    snapshot = gather(live, nodes=node or (), without_nodes=no_nodes, from_files=from_file or ())
    snapshot = write_snapshot(snapshot, output)
    emit(_summary(snapshot, output, style_for(color)))
    return EXIT_INCOMPLETE if any(gap.kind is GapKind.FAILED for gap in snapshot.gaps) else EXIT_CLEAN


def _summary(snapshot: Snapshot, path: Path, style: Style) -> str:
    from kdiag.render.layout import count, paragraphs, visible

    size_bytes = sum(
        recording.size_bytes
        for recordings in (snapshot.api, snapshot.api_after, *snapshot.nodes.values())
        for recording in recordings.values()
    )
    again = f", {count(len(snapshot.again), 'round')} more" if snapshot.again else ""
    lines = [
        f"Wrote {visible(str(path))}: cluster {visible(snapshot.name)}, {count(len(snapshot.nodes), 'node')}{again}, "
        f"{size_bytes / (1 << 20):.1f} MiB of text"
    ]
    if snapshot.gaps:
        lines.append("Not in it:")
        for gap in snapshot.gaps:
            where = f"{gap.node}: " if gap.node else ""
            lines += paragraphs(f"{where}{gap.subject}: {gap.reason}", style.width, indent="    ", first="  ")
    return "\n".join(lines) + "\n"


COMMAND = Command(
    slug="collect",
    summary="Store a live cluster for the other commands to read.",
    details=(
        "Reads the API and every node, as the other commands do, and writes it as text: to look at later, to compare, or to "
        "hand to somebody who has no access. Secrets are not asked for, and tokens, keys and passwords in what is read "
        "are blotted out.\n\n"
        "A node that SSH cannot reach: run the script of --print-script there as root (sh script >node.out), and name its "
        "output with --from-file NODE=node.out.\n\n"
        "Exit codes: 0 all was had, 3 something could not be had and is noted in the snapshot."
    ),
    function=collect,
    groups=LIVE,
    examples=(
        ("collect -o cluster.tar.gz", "store the cluster of the current context"),
        ("collect --context lab --no-nodes -o lab.tar.gz", "another cluster, without logging in to nodes"),
        ("collect --from-file node07=node07.out -o cluster.tar.gz", "with a node that SSH cannot reach"),
    ),
)
