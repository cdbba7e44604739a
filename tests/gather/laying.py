"""Files laid out for a test."""

from __future__ import annotations

import json
from pathlib import Path


def lay(root: Path, files: dict[str, str | bytes | object]) -> Path:
    """Writes files; what is neither text nor bytes becomes JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return root
