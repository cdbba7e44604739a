"""`kdiag check-rules`: the family KD2."""

from __future__ import annotations

from kdiag.cli.command import Command
from kdiag.cli.judge import judging

COMMAND = Command(
    slug="check-rules",
    summary="Check what the rules on every node do to Service traffic.",
    details=(
        "Walks the packets to every Service address through the rules that each node really has, and compares where they "
        "end with where they should. Runs the checks KD2xx."
    ),
    function=judging("KD2"),
)
