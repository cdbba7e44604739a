"""A short slice of the fuzzing, and every input that broke something once."""

from __future__ import annotations

from itertools import islice
from random import Random

from kdiag.errors import ParseError
from tests.proof.fuzz import ask, inputs, kept_inputs
from tests.proof.fuzz_subjects import Subject, html_tags, subjects


def test_a_slice() -> None:
    complaints = []
    for subject, content in islice(inputs(Random("slice")), 1500):
        complaint = ask(subject, content)
        if complaint is not None and not complaint.startswith("takes "):  # pytest measures coverage meanwhile
            complaints.append(f"{subject.name}: {complaint}: {content[:200]!r}")
    assert complaints == []


def test_inputs_that_broke_something_once() -> None:
    by_name = {subject.name: subject for subject in subjects()}
    for name, path in kept_inputs():
        assert ask(by_name[name], path.read_bytes()) is None, path


def test_only_kdiag_s_own_errors_pass() -> None:
    def raises(error: Exception) -> Subject:
        def fail(_content: bytes) -> object:
            raise error

        return Subject(name="x", seeds=(b"x",), ask=fail)

    assert ask(raises(ParseError("x")), b"") is None
    assert "KeyError" in (ask(raises(KeyError("x")), b"") or "")


def test_tags_that_get_through_would_be_seen() -> None:
    assert html_tags("<p>&lt;img&gt;</p>") == ["p"]
    assert html_tags("<p><img onerror=x></p>") == ["p", "img onerror"]
