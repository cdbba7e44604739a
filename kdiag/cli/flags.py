"""`kdiag flags`: the settings that several components must agree on."""

from __future__ import annotations

from kdiag.cli import options
from kdiag.cli.answers import answer, wanted_answers
from kdiag.cli.command import Command
from kdiag.cli.judge import EXIT_CLEAN
from kdiag.cli.live import LIVE, LiveOptions
from kdiag.cli.snapshots import open_wanted


def flags(
    *,
    snapshot: options.SnapshotOption = None,
    demo: options.DemoOption = False,
    output: options.FactsOutputOption = None,
    no_nodes: options.NoNodesOption = False,
    config: options.ConfigOption = None,
    no_config: options.NoConfigOption = False,
    live: LiveOptions,
    color: options.ColourOption = options.Colour.AUTO,
    debug: options.DebugOption = False,
) -> int:
    """Options → settings → answer; the exit code is 0, for this command judges nothing."""
    from msgspec.structs import replace

    from kdiag import pipeline

    del config, no_config, debug  # see kdiag.cli.judge
    targets = wanted_answers(output)
    gathered = open_wanted(snapshot, demo=demo, live=live, without_nodes=no_nodes)
    facts = pipeline.collect_settings(replace(gathered, nodes={}) if no_nodes else gathered)
    answer(targets, color, lambda form, style: form.facts(facts, style))
    return EXIT_CLEAN


COMMAND = Command(
    slug="flags",
    summary="Show what the components were told about address ranges.",
    details=(
        "Every flag, configuration key and API object that states the range of Services, pods or node ports, the address of "
        "the cluster DNS or the mode of kube-proxy, with the place where it stands. Judges nothing: that is for check-cidrs."
    ),
    function=flags,
    groups=LIVE,
    examples=(
        ("flags --demo", "what was every component of the recorded cluster told?"),
        ("flags --no-nodes -o yaml", "what the API alone tells, for a script"),
    ),
)
