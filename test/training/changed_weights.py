# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a command changed of a checkpoint."""

from pathlib import Path

import torch

from pervformer_ros.model import load_model


def changed_weights(first: Path, second: Path) -> set[str]:
    """Return the names of the weights in which two checkpoints differ."""
    before, after = (load_model(path).model.state_dict() for path in (first, second))
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}
