"""A short slice of the proof that noise changes nothing."""

from __future__ import annotations

from random import Random

import pytest

from kdiag.planes import rulesets
from tests.corpus_fixtures import cluster
from tests.proof import noise_forms
from tests.proof.noise import FORMS, NOISES, compared, shuffled_dispatch, with_counters

SLICE = ("v1.36.2-iptables-nft", "c-sep-dnat-deleted")


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", SLICE)
def test_noise_changes_nothing(name: str, noise: str) -> None:
    assert compared(name, noise, Random(1), {}) is None


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", SLICE)
def test_noise_changes_nothing_where_dumps_are_cut_up(name: str, noise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rulesets, "LARGE_BYTES", 0)
    assert compared(name, noise, Random(1), {}) is None


@pytest.mark.parametrize("form", FORMS)
def test_other_prints_of_the_same_rules_tell_the_same(form: str) -> None:
    if noise_forms.why_not() is not None:
        pytest.skip(str(noise_forms.why_not()))
    assert compared("v1.36.2-iptables-nft", form, Random(1), {}) is None


def test_the_edits_edit() -> None:
    text = cluster("v1.36.2-iptables-nft").nodes["node01"]["iptables-save"].text()
    shuffled = shuffled_dispatch(text, Random(1))
    assert shuffled != text
    assert sorted(shuffled.splitlines()) == sorted(text.splitlines())
    assert with_counters(text, Random(1)).count("] -A ") == text.count("\n-A ")
