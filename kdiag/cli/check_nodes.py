"""`kdiag check-nodes`: the family KD4."""

from __future__ import annotations

from kdiag.cli.command import Command
from kdiag.cli.judge import judging
from kdiag.cli.live import LIVE

COMMAND = Command(
    slug="check-nodes",
    summary="Check the health of nodes and their kube-proxy.",
    details="Does kube-proxy run, does it keep up, and is the kernel set up for it? Runs the checks KD4xx.",
    function=judging("KD4"),
    groups=LIVE,
    examples=(
        ("check-nodes --demo", "are the nodes of the recorded cluster and their proxies well?"),
        ("check-nodes --node node02 --node node03", "two nodes of the cluster of the current context"),
    ),
)
