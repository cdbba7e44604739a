"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# Shared machines pause tests at will, so a single slow example proves nothing.
settings.register_profile("kdiag", deadline=None, max_examples=60)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "kdiag"))
