"""One lab for all tests of this package: starting nodes takes longer than asking them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import kdiag
from tests.lab.nodes import Lab, LabError, why_not

__all__ = ["kdiag", "lab"]


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    try:
        made = Lab(tmp_path_factory.mktemp("lab")).__enter__()
    except LabError as error:
        pytest.skip(f"the lab cannot be made here: {error}")
    try:
        yield made
    finally:
        made.__exit__()
