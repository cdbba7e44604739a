from __future__ import annotations

import pytest

from kdiag.cli.values import Values


class Pair(Values):
    first: str
    second: int = 2

    @property
    def both(self) -> str:
        return f"{self.first}{self.second}"


class Other(Values):
    first: str
    second: int = 2


def test_fields_and_defaults() -> None:
    assert Pair(first="a").both == "a2"
    assert Pair(first="a", second=3).both == "a3"
    assert Pair.defaults() == {"second": 2}


def test_they_are_equal_by_value() -> None:
    assert Pair(first="a") == Pair(first="a", second=2)
    assert Pair(first="a") != Pair(first="b")
    assert Pair(first="a") != Other(first="a")
    assert list(dict.fromkeys([Pair(first="a"), Pair(first="a", second=2)])) == [Pair(first="a")]


def test_what_is_no_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Pair has no fourth, third"):
        Pair(first="a", third=3, fourth=4)  # type: ignore[call-arg]
