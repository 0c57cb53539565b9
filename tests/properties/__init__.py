"""What holds for every input: hypothesis makes inputs up, and shrinks the one that breaks a rule.

In the suite each rule is tried on a few inputs, always the same ones. HYPOTHESIS_PROFILE=long tries a thousand new ones
each: HYPOTHESIS_PROFILE=long pytest tests/properties
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, configuration, settings

configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "xpet-hypothesis")  # it writes tables of Unicode
SLOW = list(HealthCheck)
"""Checks of hypothesis that fail where a machine is busy."""
settings.register_profile(
    "short", max_examples=15, derandomize=True, deadline=None, database=None, suppress_health_check=SLOW
)
settings.register_profile("long", max_examples=1000, deadline=None, database=None, suppress_health_check=SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))
