"""All randomness of a training: where it starts, and where it is."""

import random
import threading
from typing import Any

import numpy as np
import torch

State = dict[str, Any]

# The generators belong to the process: two threads that draw from them would each disturb the other's numbers.
random_numbers_lock = threading.RLock()


def seed_everything(seed: int) -> None:
    """Python, numpy and torch (every device) start from `seed`: a workload's model may use any of them."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state() -> State:
    """Where the generators are, as tensors and numbers."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (kind, np.array(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: State) -> None:
    """Put the generators where `random_state` saw them."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
