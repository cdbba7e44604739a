from __future__ import annotations

import io
import os
import sys

import pytest

from kdiag.cli.formats import FACTS_FORMATS, REPORT_FORMATS, TRACE_FORMATS, OutputFormat
from kdiag.cli.options import Colour
from kdiag.cli.output import NARROWEST, WIDEST, emit, forget_stdout, style_for
from kdiag.errors import KdiagError
from kdiag.render import all_formats
from kdiag.render.interface import not_made
from kdiag.render.style import Style


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for variable in ("NO_COLOR", "TERM", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


def test_a_pipe_does_not_care_for_the_terminal(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(sys, "stdout", io.StringIO())
    environment.setenv("COLUMNS", "40")
    assert style_for(Colour.AUTO) == Style()
    assert style_for(Colour.ALWAYS) == Style(colour=True)


def test_a_terminal_gets_its_width_and_colour(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(sys, "stdout", Terminal())
    environment.setenv("COLUMNS", "132")
    assert style_for(Colour.AUTO) == Style(width=132, colour=True, cut=True)
    assert style_for(Colour.NEVER) == Style(width=132, cut=True)


@pytest.mark.parametrize(("columns", "width"), [("10", NARROWEST), ("1000", WIDEST)])
def test_width_is_bounded(environment: pytest.MonkeyPatch, columns: str, width: int) -> None:
    environment.setattr(sys, "stdout", Terminal())
    environment.setenv("COLUMNS", columns)
    assert style_for(Colour.AUTO).width == width


@pytest.mark.parametrize(
    ("variable", "value", "colour"), [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)]
)
def test_wishes_of_the_environment(environment: pytest.MonkeyPatch, variable: str, value: str, colour: bool) -> None:
    environment.setattr(sys, "stdout", Terminal())
    environment.setenv(variable, value)
    assert style_for(Colour.AUTO).colour is colour
    assert style_for(Colour.ALWAYS).colour is True


def test_formats_are_those_of_the_renderers() -> None:
    assert [item.value for item in OutputFormat] == [item.slug for item in all_formats()]
    for offered, kind in ((REPORT_FORMATS, "report"), (TRACE_FORMATS, "trace"), (FACTS_FORMATS, "facts")):
        assert list(offered) == [item.slug for item in all_formats() if getattr(item, kind) is not not_made]


class Broken(io.StringIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, _: str) -> int:
        raise self.error


def test_a_broken_pipe_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError()))
    emit("text")


def test_another_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(OSError(28, "No space left on device")))
    with pytest.raises(KdiagError) as caught:
        emit("text")
    assert caught.value.message == "cannot write the answer: No space left on device"


def test_forgetting_redirects_the_file_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        forget_stdout()
        out.write("nobody reads this")
        out.flush()
