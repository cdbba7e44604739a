"""Names of well-known ports."""

from __future__ import annotations

import pytest

from kdiag.parse.service_names import PORT_BY_NAME, port_number


@pytest.mark.parametrize(
    ("word", "expected"),
    [("http", "80"), ("https", "443"), ("domain", "53"), ("http-alt", "8080"), ("30080", "30080"), ("nosuch", None),
     ("", None), ("²", None)],
)  # fmt: skip
def test_port_number(word: str, expected: str | None) -> None:
    assert port_number(word) == expected


def test_all_are_ports() -> None:
    assert all(0 < number < 65536 and not word.isdigit() for word, number in PORT_BY_NAME.items())
