# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""PervFormer: a causal video transformer with a memory of fixed size. Torch only.

Letters that every shape in this package is written in:

    B  videos side by side          T  frames in time
    M  B or B * T frames, flattened N  tokens of a frame: [class token] + patches + probes
    P  memory probes                D  width of a token
    R  width of the recurrence      L  blocks (depth)
    K  taps of the causal convolution, or things found in a frame
    H, W  height and width of the model's image; h8 means H / 8

`forward` takes whole clips with axes (B, T, ...), `step` one frame with axes (B, ...).
"""

from pervformer_ros.model.card import Metrics, card_path, read_card, write_card
from pervformer_ros.model.checkpoint import (
    CheckpointError,
    LoadedModel,
    ModelInfo,
    load_model,
    save_model,
)
from pervformer_ros.model.config import PervFormerConfig, create_config
from pervformer_ros.model.heads import Percept
from pervformer_ros.model.perceiver import (
    DetectionArrays,
    Perceiver,
    PerceptArrays,
    ProbeArrays,
    StateError,
)
from pervformer_ros.model.pervformer import (
    MemoryState,
    PervFormer,
    VideoInput,
    create_model,
    forget_patches,
    forget_probes,
    state_bytes,
)
from pervformer_ros.model.probes import ProbeUpdate, propose
from pervformer_ros.model.shipped import UNTRAINED, find_weights, shipped_weights
from pervformer_ros.model.trecvit import import_trecvit, load_trecvit

__all__ = [
    "UNTRAINED",
    "CheckpointError",
    "DetectionArrays",
    "LoadedModel",
    "MemoryState",
    "Metrics",
    "ModelInfo",
    "Perceiver",
    "Percept",
    "PerceptArrays",
    "PervFormer",
    "PervFormerConfig",
    "ProbeArrays",
    "ProbeUpdate",
    "StateError",
    "VideoInput",
    "card_path",
    "create_config",
    "create_model",
    "find_weights",
    "forget_patches",
    "forget_probes",
    "import_trecvit",
    "load_model",
    "load_trecvit",
    "propose",
    "read_card",
    "save_model",
    "shipped_weights",
    "state_bytes",
    "write_card",
]
