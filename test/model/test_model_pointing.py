# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A probe that looks at a cell measures the point that is seen there."""

import numpy as np
import pytest
import torch

from pervformer_ros.model import create_config
from pervformer_ros.model.pointing import Pointer, sight

CAMERA = torch.tensor([[60.0, 55.0, 47.5, 31.5]])


def depth_image(metres: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inverse depth and its validity, (1, 1, H, W) each; 0 = none."""
    z = torch.from_numpy(metres.astype(np.float32))[None, None]
    return torch.where(z > 0, 1 / z.clamp(min=0.1), 0.0), (z > 0).float()


def pointer_at(cells: torch.Tensor) -> Pointer:
    """Return a pointer whose probes all look at the cell whose first channel is largest."""
    pointer = Pointer(create_config("tiny"))
    for p in pointer.parameters():
        torch.nn.init.zeros_(p)
    pointer.query.bias.data[0] = 1.0
    pointer.key.weight.data[0, 0] = 1000.0
    return pointer


def test_a_cell_is_seen_along_its_ray() -> None:
    metres = np.full((64, 96), 2.5)
    metres[8:16, 16:24] = 4.0
    metres[40:48, 80:88] = 0.0
    seen = sight(*depth_image(metres), CAMERA)
    assert seen.depth[0, 1, 2] == pytest.approx(4.0, abs=1e-5)
    assert seen.depth[0, 5, 10] == 0
    assert seen.depth[0, 3, 3] == pytest.approx(2.5, abs=1e-5)
    # The middle of the cell in row 1, column 2 is between pixels 19 and 20, 11 and 12.
    expected = [(19.5 - 47.5) / 60, (11.5 - 31.5) / 55, 1.0]
    assert seen.ray[0, :, 1, 2].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("row", "column"), [(1, 2), (6, 11), (0, 0)])
def test_what_is_pointed_at_is_measured(row: int, column: int) -> None:
    rng = np.random.default_rng(row)
    metres = np.repeat(np.repeat(rng.uniform(1, 6, (8, 12)), 8, axis=0), 8, axis=1)
    seen = sight(*depth_image(metres), CAMERA)
    cells = torch.zeros(1, 8, 12, create_config("tiny").neck_width)
    cells[0, row, column, 0] = 1.0
    pointed = pointer_at(cells)(torch.zeros(1, 3, create_config("tiny").width), cells, seen)
    assert pointed.attention[0, 1, row, column] > 0.99
    expected = seen.ray[0, :, row, column] * seen.depth[0, row, column]
    torch.testing.assert_close(pointed.known[0, 2], expected, atol=1e-3, rtol=1e-3)
    assert pointed.unknown.abs().max() < 1e-3
    centre = torch.tensor([(column + 0.5) / 12, (row + 0.5) / 8])
    torch.testing.assert_close(pointed.centre[0, 0], centre, atol=1e-3, rtol=1e-3)


def test_without_depth_the_direction_is_left() -> None:
    seen = sight(*depth_image(np.zeros((64, 96))), CAMERA)
    cells = torch.zeros(1, 8, 12, create_config("tiny").neck_width)
    cells[0, 5, 4, 0] = 1.0
    pointed = pointer_at(cells)(torch.zeros(1, 1, create_config("tiny").width), cells, seen)
    assert pointed.known.abs().max() == 0
    torch.testing.assert_close(pointed.unknown[0, 0], seen.ray[0, :, 5, 4], atol=1e-3, rtol=1e-3)


def test_attention_sums_to_one() -> None:
    torch.manual_seed(0)
    config = create_config("tiny")
    seen = sight(*depth_image(np.full((64, 96), 2.0)), CAMERA)
    cells = torch.randn(1, 8, 12, config.neck_width)
    pointed = Pointer(config)(torch.randn(1, 5, config.width), cells, seen)
    torch.testing.assert_close(pointed.attention.sum((-2, -1)), torch.ones(1, 5))
    # A mean of points at one depth lies at that depth.
    torch.testing.assert_close(pointed.known[..., 2], torch.full((1, 5), 2.0))
