"""The options that name what is not applied yet, declared once, and the plan that they come to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kdiag.cli.declared import Option, OptionGroup
from kdiag.errors import UsageError

if TYPE_CHECKING:
    from kdiag.model.plan import Plan

PLAN_PANEL = "What is not applied yet"


class PlanOptions(OptionGroup):
    """Manifests and ranges to judge instead of what is there. Each field is an option; its default stands for not given."""

    filename: Annotated[
        list[Path] | None,
        Option(
            "--filename",
            "-f",
            metavar="PATH",
            help="Judge the manifests in this file, in a directory and all below it, or on standard input (-). May be repeated.",
            show_default=False,
            rich_help_panel=PLAN_PANEL,
        ),
    ] = None
    pod_cidr: Annotated[
        list[str] | None,
        Option(
            "--pod-cidr",
            metavar="CIDR",
            help="Judge this range for pods that are to come. May be repeated.",
            show_default=False,
            rich_help_panel=PLAN_PANEL,
        ),
    ] = None
    service_cidr: Annotated[
        list[str] | None,
        Option(
            "--service-cidr",
            metavar="CIDR",
            help="Judge this range for Services that are to come. May be repeated.",
            show_default=False,
            rich_help_panel=PLAN_PANEL,
        ),
    ] = None
    node_cidr: Annotated[
        list[str] | None,
        Option(
            "--node-cidr",
            metavar="CIDR",
            help="Judge this range for nodes that are to come. May be repeated.",
            show_default=False,
            rich_help_panel=PLAN_PANEL,
        ),
    ] = None

    @property
    def given(self) -> bool:
        """Whether there is a plan at all."""
        return any(getattr(self, name) for name in self.defaults())

    @property
    def ranges_alone(self) -> bool:
        """Whether only ranges are given: they can be judged without a cluster."""
        return self.given and not self.filename


PLAN: Mapping[str, type[OptionGroup]] = {"plan": PlanOptions}
"""The group of options of a command that takes what is not applied yet (see Command)."""


def plan_of(given: PlanOptions, *, namespace: str | None) -> Plan:
    """What the options name, read. Raises UsageError."""
    from kdiag.pipeline.plan import read_plan

    plan = read_plan(
        given.filename or (),
        namespace=namespace or "default",
        pod_cidrs=given.pod_cidr or (),
        service_cidrs=given.service_cidr or (),
        node_cidrs=given.node_cidr or (),
    )
    if given.filename and not plan.has_objects:
        ignored = ", ".join(f"{number} {kind}" for kind, number in plan.ignored.items())
        raise UsageError(
            "the manifests hold nothing that can be judged" + (f", but {ignored}" if ignored else ""),
            hint="Services, EndpointSlices, ServiceCIDRs and workloads are",
        )
    return plan
