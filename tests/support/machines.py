"""How long the state machines of objects run: MHEAP_EXAMPLES sequences of MHEAP_STEPS steps."""

from __future__ import annotations

import gc
import os

from hypothesis import HealthCheck, settings

gc.freeze()  # a full collection, of which machines make many, does not look at all that was imported

SETTINGS = settings(
    max_examples=int(os.environ.get("MHEAP_EXAMPLES", "60")),
    stateful_step_count=int(os.environ.get("MHEAP_STEPS", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
