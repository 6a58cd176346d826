# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Print the sizes of the models: `python -m pervformer_ros.model`."""

import torch

from pervformer_ros.model.config import VARIANTS
from pervformer_ros.model.pervformer import PervFormer, state_bytes


def main() -> None:
    """Print a Markdown table, one row to a model."""
    print(
        "| model | image | tokens (patches + probes) | width x depth | weights | float32 | state |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, config in VARIANTS.items():
        with torch.device("meta"):  # shapes without numbers
            model = PervFormer(config)
        parameters = sum(p.numel() for p in model.parameters())
        height, width = config.image_size
        print(
            f"| {name} | {width}x{height} | {config.tokens} ({config.patches} + {config.probes}) "
            f"| {config.width} x {config.depth} | {parameters / 1e6:.2f} M "
            f"| {4 * parameters / 1e6:.1f} MB | {state_bytes(model.init_state()) / 1e6:.2f} MB |"
        )


if __name__ == "__main__":
    main()
