from __future__ import annotations

from dataclasses import dataclass

from kdiag.model.report import Severity
from kdiag.render.reference import check_list, check_page, checks_markdown, reflow
from kdiag.render.style import Style

EXPLANATION = """\
A long first paragraph that has to be
wrapped because it does not fit.

- an item that is long enough to be wrapped, too
  and goes on
- another

1. numbered

```
iptables-save   | grep   KUBE-SERVICES and a line that is longer than the width
```

    indented   code

| a | b |
# heading
"""


@dataclass(frozen=True)
class Sample:
    code: str
    slug: str
    title: str = "A title"
    severity: Severity = Severity.ERROR
    explanation: str = EXPLANATION
    hint: str = "Do something."


def test_reflow() -> None:
    assert reflow(EXPLANATION, 40) == [
        "A long first paragraph that has to be",
        "wrapped because it does not fit.",
        "",
        "- an item that is long enough to be",
        "  wrapped, too and goes on",
        "- another",
        "",
        "1. numbered",
        "",
        "```",
        "iptables-save   | grep   KUBE-SERVICES and a line that is longer than the width",
        "```",
        "",
        "    indented   code",
        "",
        "| a | b |",
        "# heading",
    ]


def test_page() -> None:
    lines = check_page(Sample("KD204", "stale-endpoint"), Style(width=40)).splitlines()
    assert lines[:4] == ["KD204 stale-endpoint (error)", "A title", "", "A long first paragraph that has to be"]
    assert lines[-2:] == ["", "hint: Do something."]
    assert "hint" not in check_page(Sample("KD204", "x", hint=""), Style())


def test_list_is_by_family_and_sorted() -> None:
    text = check_list((Sample("KD204", "b"), Sample("KD101", "a"), Sample("KD901", "c")), Style())
    assert text == (
        "KD1xx  Address ranges\n"
        "  CODE   CHECK  SEVERITY  WHAT IT REPORTS\n"
        "  KD101  a      error     A title\n"
        "\n"
        "KD2xx  Data plane\n"
        "  CODE   CHECK  SEVERITY  WHAT IT REPORTS\n"
        "  KD204  b      error     A title\n"
        "\n"
        "KD9xx\n"
        "  CODE   CHECK  SEVERITY  WHAT IT REPORTS\n"
        "  KD901  c      error     A title\n"
        "\n"
        "kdiag explain CODE says more about one of them.\n"
    )


def test_markdown() -> None:
    text = checks_markdown((Sample("KD204", "b"), Sample("KD203", "a", hint="", explanation="Short.\n")), {})
    assert "\n## KD2xx: Data plane\n\n### KD203 a\n\n**A title** (error)\n\nShort.\n\n### KD204 b\n" in text
    assert text.endswith("# heading\n\n*What to do:* Do something.\n")


def test_bold_words_are_bold_on_a_terminal_and_plain_elsewhere() -> None:
    check = Sample("KD201", "x", explanation="**What it does.** It *breaks* `x`.")
    assert "\nWhat it does. It *breaks* `x`.\n" in check_page(check, Style())
    assert "\n\x1b[1mWhat it does.\x1b[0m It" in check_page(check, Style(colour=True))
    assert "**What it does.**" in checks_markdown([check], {})


@dataclass(frozen=True)
class Printed:
    told: str = "A rule was\ndeleted."
    console: str = "$ kdiag preflight\n\nERROR  \x1b KD204"


def test_examples() -> None:
    page = check_page(Sample("KD204", "x"), Style(), Printed())
    assert page.endswith(
        "\nhint: Do something.\n\nExample. A rule was deleted.\n\n$ kdiag preflight\n\nERROR  \\x1b KD204\n"
    )
    text = checks_markdown([Sample("KD204", "x"), Sample("KD205", "y")], {"KD204": Printed()})
    assert text.count("**Example.** A rule was\ndeleted.\n\n```console\n$ kdiag preflight\n") == 1
    assert text.endswith("*What to do:* Do something.\n")
