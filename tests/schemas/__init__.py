"""Published JSON Schemas; README.md says where they are from."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def published_schema(name: str) -> Any:
    """The schema in NAME.json.gz."""
    return json.loads(gzip.decompress((_HERE / f"{name}.json.gz").read_bytes()))
