"""`kdiag preflight`: everything."""

from __future__ import annotations

from kdiag.cli.command import Command
from kdiag.cli.judge import judging
from kdiag.cli.live import LIVE
from kdiag.cli.plan_options import PLAN

COMMAND = Command(
    slug="preflight",
    summary="Run all checks.",
    details=(
        "Judges every Service address on every node, the address ranges, the Services with their endpoints, and the "
        "health of nodes and proxies.\n\n"
        "With -f it judges manifests before they are applied: what would be wrong in this cluster that is not wrong now. "
        "--pod-cidr, --service-cidr and --node-cidr do the same for ranges; alone, without a cluster, they are compared "
        "with each other."
    ),
    function=judging(""),
    groups={**LIVE, **PLAN},
    examples=(
        ("preflight --demo", "judge the recorded cluster that comes with kdiag"),
        ("preflight", "judge the cluster of the current context, on every node"),
        ("preflight shop/web --node node02", "judge one Service on one node"),
        (
            "preflight --snapshot cluster.tar.gz -o text -o sarif=kdiag.sarif",
            "judge a recording, for people and for CI",
        ),
        ("preflight -f manifests/ --snapshot cluster.tar.gz", "judge manifests before they are applied"),
    ),
)
