"""What a check is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from kdiag.model.report import Affected, Evidence, Finding, Severity
from kdiag.model.view import View


class Check(Struct, frozen=True, kw_only=True):
    """A pure function from a view to findings, and its documentation.

    `code` is never reused; `slug` is the file's name with dashes; `severity` is the usual one (a finding may carry
    another); `explanation` is Markdown for `kdiag explain` and docs/checks.md and says what the fault is, what it does
    to traffic, how it is found, and what is left alone; `hint` says what to do in one or two sentences.
    """

    code: str
    slug: str
    title: str
    severity: Severity
    explanation: str
    hint: str
    run: Callable[[View], Iterable[Finding]]
    needs_nodes: bool = False
    """True if the check can say nothing without what the nodes printed."""

    def finding(
        self,
        *,
        message: str,
        title: str | None = None,
        severity: Severity | None = None,
        node: str | None = None,
        service: str | None = None,
        port: str | None = None,
        frontend: str | None = None,
        expected: str | None = None,
        actual: str | None = None,
        hint: str | None = None,
        affected: Iterable[Affected] = (),
        evidence: Iterable[Evidence] = (),
    ) -> Finding:
        """A finding of this check; code, slug and defaults are filled in, `affected` is sorted and made unique."""
        return Finding(
            code=self.code,
            slug=self.slug,
            severity=severity or self.severity,
            title=title or self.title,
            node=node,
            service=service,
            port=port,
            frontend=frontend,
            expected=expected,
            actual=actual,
            message=message,
            hint=self.hint if hint is None else hint,
            affected=tuple(
                sorted(set(affected), key=lambda item: (item.node or "", item.service or "", item.port or ""))
            ),
            evidence=tuple(dict.fromkeys(evidence)),
        )
