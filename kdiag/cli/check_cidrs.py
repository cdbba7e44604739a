"""`kdiag check-cidrs`: the family KD1."""

from __future__ import annotations

from kdiag.cli.command import Command
from kdiag.cli.judge import judging

COMMAND = Command(
    slug="check-cidrs",
    summary="Check the address ranges of pods, Services and nodes.",
    details=(
        "Do the ranges overlap, do the components agree on them, does every address lie in its range, is there room left? "
        "Runs the checks KD1xx."
    ),
    function=judging("KD1"),
)
