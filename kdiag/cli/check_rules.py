"""`kdiag check-rules`: the family KD2."""

from __future__ import annotations

from kdiag.cli.command import Command
from kdiag.cli.judge import judging
from kdiag.cli.live import LIVE

COMMAND = Command(
    slug="check-rules",
    summary="Check what the rules on every node do to Service traffic.",
    details=(
        "Walks the packets to every Service address through the rules that each node really has, and compares where they "
        "end with where they should. Runs the checks KD2xx."
    ),
    function=judging("KD2"),
    groups=LIVE,
    examples=(
        ("check-rules --demo", "what do the rules of the recorded cluster do to Service traffic?"),
        ("check-rules shop/web --node node02", "one Service on one node"),
        ("check-rules -A -o json", "all of them, for a script"),
    ),
)
