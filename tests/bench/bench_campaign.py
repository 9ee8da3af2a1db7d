"""The campaign: every kind of fault and attack that was ever found here, many times, seeded and resumable; three hours on two cores.

What it finds is fixed and becomes a test; figures go to docs/benchmarks.md. Parts are in campaign_*.py, the frame in campaign.py.
"""

import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))

import campaign
import campaign_attestations
import campaign_checkpoints
import campaign_decisions
import campaign_kills
import campaign_load
import campaign_models
import campaign_registry
import campaign_requests

PARTS = (
    *campaign_kills.PARTS,
    *campaign_checkpoints.PARTS,
    *campaign_decisions.PARTS,
    *campaign_models.PARTS,
    *campaign_requests.PARTS,
    *campaign_load.PARTS,
    *campaign_registry.PARTS,
    *campaign_attestations.PARTS,
)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what a part has started ends with it
    sys.exit(campaign.main(PARTS))
