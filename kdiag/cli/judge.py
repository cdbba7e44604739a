"""The one signature of `preflight` and the `check-…` commands: options → diagnosis → answer → exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kdiag.cli import options
from kdiag.cli.answers import answer, wanted_answers
from kdiag.cli.formats import OutputFormat
from kdiag.cli.live import LiveOptions
from kdiag.cli.output import emit
from kdiag.cli.plan_options import PlanOptions, plan_of
from kdiag.cli.snapshots import open_wanted
from kdiag.errors import UsageError

if TYPE_CHECKING:
    from kdiag.model.addresses import Network
    from kdiag.model.baseline import Baseline
    from kdiag.model.objects import ObjectKey
    from kdiag.model.report import Report
    from kdiag.pipeline import Scope

API_ONLY_FAMILY = "KD3"
"""Checks that look at nothing on nodes."""

RANGES_FAMILY = "KD1"
"""Checks of address ranges: their answer has the map of them."""

_NO_PLAN = PlanOptions()

EXIT_CLEAN = 0
EXIT_FINDINGS = 1
EXIT_INCOMPLETE = 3


def judging(family: str) -> Callable[..., int]:
    """The function of a command that runs the checks whose codes begin with `family` (empty: all)."""

    def judge(
        *,
        service: options.ServiceArgument = None,
        snapshot: options.SnapshotOption = None,
        demo: options.DemoOption = False,
        output: options.ReportOutputOption = None,
        fail_on: options.FailOnOption = options.FailOn.ERROR,
        select: options.SelectOption = None,
        ignore: options.IgnoreOption = None,
        no_nodes: options.NoNodesOption = False,
        node: options.NodesOption = None,
        namespace: options.NamespaceOption = None,
        all_namespaces: options.AllNamespacesOption = False,
        reserved: options.ReservedOption = None,
        baseline: options.BaselineOption = None,
        write_baseline: options.WriteBaselineOption = None,
        force: options.ForceOption = False,
        plan: PlanOptions = _NO_PLAN,
        config: options.ConfigOption = None,
        no_config: options.NoConfigOption = False,
        live: LiveOptions,
        color: options.ColourOption = options.Colour.AUTO,
        debug: options.DebugOption = False,
    ) -> int:
        from kdiag import pipeline

        # The handler in kdiag.cli.main looks at the arguments itself, for it must know of --debug at any time, and
        # whoever read the command line has looked at --config before the other options had values.
        del config, no_config, debug
        targets = wanted_answers(output)
        accepted = given_baseline(baseline, write_baseline, force=force)
        if no_nodes and node:
            raise UsageError("--node and --no-nodes exclude each other")
        services = wanted_services(service, namespace, all_namespaces=all_namespaces)
        scope = pipeline.Scope(
            select=selected_codes(family, select or ()),
            ignore=named_codes("--ignore", ignore or ()),
            services=services,
            namespace=None if services else namespace,
            nodes=tuple(dict.fromkeys(node or ())),
            without_nodes=no_nodes,
            reserved=reserved_ranges(reserved or ()),
            settle_s=live.settle,
            with_ranges=family == RANGES_FAMILY or any(item.output_format is OutputFormat.SVG for item in targets),
            with_overview=any(item.output_format is OutputFormat.HTML for item in targets),
            last=True,
        )
        refuse_if_nothing_is_left(scope.select, scope.ignore)
        if plan.given:
            report = _judged_plan(plan, scope, live, snapshot, demo=demo, namespace=namespace)
        else:
            # Services and endpoints need nothing but the API: nobody should have to log in to nodes for them.
            api_only = no_nodes or family == API_ONLY_FAMILY
            gathered = open_wanted(snapshot, demo=demo, live=live, nodes=scope.nodes, without_nodes=api_only)
            report = pipeline.diagnose(gathered, scope)
        if accepted is not None:
            from kdiag.pipeline.baseline import apply_baseline

            report = apply_baseline(report, accepted, scope, today=datetime.now(UTC).date())
        if write_baseline is not None:
            return write_accepting(report, accepted, write_baseline)
        answer(targets, color, lambda form, style: form.report(report, style), job_summary=True)
        return exit_code(report, fail_on)

    return judge


def _judged_plan(
    given: PlanOptions,
    scope: Scope,
    live: LiveOptions,
    snapshot: Path | None,
    *,
    demo: bool,
    namespace: str | None,
) -> Report:
    """The report on what is not applied yet. Ranges alone are judged without a cluster, unless one is named."""
    from kdiag.pipeline.plan import judge_plan

    plan = plan_of(given, namespace=namespace)
    named = snapshot is not None or demo or live.kubeconfig is not None or live.context is not None
    if given.ranges_alone and not named:
        return judge_plan(None, plan, scope)
    gathered = open_wanted(snapshot, demo=demo, live=live, nodes=scope.nodes, without_nodes=scope.without_nodes)
    return judge_plan(gathered, plan, scope)


def exit_code(report: Report, fail_on: options.FailOn) -> int:
    """1 with findings at or above `fail_on`, else 3 with a failed gap, else 0: findings win over gaps."""
    from kdiag.model.report import GapKind, Severity

    if any(finding.severity.rank <= Severity(fail_on.value).rank for finding in report.counting):
        return EXIT_FINDINGS
    if any(gap.kind is GapKind.FAILED for gap in report.gaps):
        return EXIT_INCOMPLETE
    return EXIT_CLEAN


def given_baseline(path: Path | None, written: Path | None, *, force: bool) -> Baseline | None:
    """The baseline that `--baseline` names. Raises UsageError if it is none, or another could not be written later."""
    if written is None and force:
        raise UsageError("--force is for --write-baseline", hint="leave it out")
    if written is not None:
        from kdiag.gather.text_files import check_writable

        if written.exists() and not force:
            raise UsageError(
                f"{written} exists already",
                hint=f"--force replaces it; with --baseline {written} as well, what is filled in there is kept",
            )
        check_writable(written)
    if path is None:
        return None
    from kdiag.pipeline.baseline import read_baseline

    return read_baseline(path)


def write_accepting(report: Report, known: Baseline | None, path: Path) -> int:
    """Writes a baseline that accepts all that was found, and says what is left to do. 3 if not all could be seen."""
    from kdiag.gather.text_files import write_text_file
    from kdiag.model.report import GapKind
    from kdiag.render.baseline import baseline_text
    from kdiag.render.layout import count, visible

    write_text_file(path, baseline_text(report, () if known is None else known.entries))
    fresh = sum(1 for finding in report.findings if finding.acceptance is None)
    lines = [f"Wrote {visible(str(path))}: it accepts {count(len(report.findings), 'finding')}"]
    if fresh:
        lines.append(f"{fresh} of them lack a reason, an owner and a last day: fill them in before --baseline reads it")
    failed = sum(1 for gap in report.gaps if gap.kind is GapKind.FAILED)
    if failed:
        lines.append(f"{count(failed, 'part')} could not be examined: what is wrong there is not in it")
    emit("\n".join(lines) + "\n")
    return EXIT_INCOMPLETE if failed else EXIT_CLEAN


def reserved_ranges(texts: Sequence[str]) -> tuple[Network, ...]:
    """What `--reserved` names. Raises UsageError."""
    if not texts:
        return ()
    from kdiag.parse.target import parse_reserved

    return tuple(parse_reserved(text) for text in texts)


def wanted_services(service: str | None, namespace: str | None, *, all_namespaces: bool) -> tuple[ObjectKey, ...]:
    """The Service argument, read; empty without one. An empty namespace in it means that any will do."""
    if namespace is not None and all_namespaces:
        raise UsageError("--namespace and --all-namespaces exclude each other")
    if service is None:
        return ()
    from kdiag.parse.target import parse_service_name

    return (parse_service_name(service, namespace=namespace, any_namespace=all_namespaces),)


def selected_codes(family: str, texts: Sequence[str]) -> tuple[str, ...]:
    """What Scope.select gets: nothing for all checks, the family for all of a family, else the codes one by one."""
    named = named_codes("--select", texts)
    if not texts:
        return (family,) if family else ()
    chosen = tuple(code for code in named if code.startswith(family))
    if not chosen:
        raise UsageError(
            f"--select {','.join(texts)} names no check of this command, which runs {family}xx",
            hint="kdiag preflight runs all of them",
        )
    return chosen


def named_codes(option: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The codes that words like `KD204,KD3` or `stale-endpoint` stand for, ascending. Raises UsageError."""
    if not texts:
        return ()
    from kdiag.checks import SLUGS
    from kdiag.model.lookup import did_you_mean

    out: set[str] = set()
    for word in (part.strip() for text in texts for part in text.split(",")):
        found = {
            code
            for code, slug in SLUGS.items()
            if slug == word.lower() or (len(word) > 2 and code.startswith(word.upper()))
        }
        if not found:
            known = [name for names in SLUGS.items() for name in names]
            raise UsageError(
                f"{option}: there is no check {word!r}",
                hint=did_you_mean(word, known) or "kdiag explain lists all checks",
            )
        out |= found
    return tuple(sorted(out))


def refuse_if_nothing_is_left(select: Sequence[str], ignore: Sequence[str]) -> None:
    """Raises UsageError if no check would run: a report of nothing looks like good news."""
    from kdiag.checks import SLUGS

    if not ignore:
        return
    left = [
        code
        for code in SLUGS
        if code not in ignore and (not select or any(code.startswith(beginning) for beginning in select))
    ]
    if not left:
        raise UsageError("--select and --ignore leave no check to run", hint="kdiag explain lists all checks")
