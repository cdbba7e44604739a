"""Fixtures for dumps that are cut up."""

from __future__ import annotations

import pytest

from kdiag.pipeline.offers import SortedOffers
from kdiag.pipeline.twins import sort_offers
from kdiag.planes import rulesets


@pytest.fixture
def cutting(monkeypatch: pytest.MonkeyPatch) -> list[SortedOffers]:
    """Every dump counts as large; what was sorted is listed."""
    seen: list[SortedOffers] = []

    def listed(*given: object, **named: object) -> list[SortedOffers]:
        found = sort_offers(*given, **named)  # type: ignore[arg-type]
        seen.extend(found)
        return found

    monkeypatch.setattr(rulesets, "LARGE_BYTES", 0)
    monkeypatch.setattr("kdiag.pipeline.nodes.sort_offers", listed)
    return seen
