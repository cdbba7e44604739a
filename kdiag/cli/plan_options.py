"""The options that name what is not applied yet, declared once, and the plan that they come to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from kdiag.errors import UsageError

if TYPE_CHECKING:
    from kdiag.model.plan import Plan

PLAN_PANEL = "What is not applied yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """Manifests and ranges to judge instead of what is there. Each field is an option; its default stands for not given."""

    filename: Annotated[
        list[Path] | None,
        typer.Option(
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
        typer.Option(
            "--pod-cidr",
            metavar="CIDR",
            help="Judge this range for pods that are to come. May be repeated.",
            show_default=False,
            rich_help_panel=PLAN_PANEL,
        ),
    ] = None
    service_cidr: Annotated[
        list[str] | None,
        typer.Option(
            "--service-cidr",
            metavar="CIDR",
            help="Judge this range for Services that are to come. May be repeated.",
            show_default=False,
            rich_help_panel=PLAN_PANEL,
        ),
    ] = None
    node_cidr: Annotated[
        list[str] | None,
        typer.Option(
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
        return any(getattr(self, item.name) for item in fields(self))

    @property
    def ranges_alone(self) -> bool:
        """Whether only ranges are given: they can be judged without a cluster."""
        return self.given and not self.filename


def with_plan_options(function: Callable[..., int], *, offered: bool) -> Callable[..., int]:
    """A command that takes the options above and hands them to `function` together, as its parameter `plan`.

    They stand where `plan` stands. Not `offered`, the command has none of them and `plan` is empty.
    """
    hints = get_type_hints(function, include_extras=True)
    own = get_type_hints(PlanOptions, include_extras=True) if offered else {}
    named = [item for item in fields(PlanOptions) if offered]
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name != "plan":
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        parameters += [
            inspect.Parameter(
                item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=own[item.name]
            )
            for item in named
        ]

    @functools.wraps(function)
    def command(**values: Any) -> int:
        plan = PlanOptions(**{item.name: values.pop(item.name) for item in named if item.name in values})
        return function(**values, plan=plan)

    del command.__dict__["__wrapped__"]  # or its signature would be taken for the command's
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": int}
    command.__dict__["__signature__"] = inspect.Signature(parameters, return_annotation=int)
    return command


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
