# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the camera's own motion explains: the frame before as seen from here; points carried on.

A camera that moves makes everything move in the image. Where depth, odometry and camera are
known, each pixel can be looked up in the frame before; what differs there has moved by itself.
Likewise a point that was seen before has a known place in the camera's frame now.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CHANGE_CHANNELS = 3
HALF = 2  # the change is worked out at half the image's size
NEAREST = 0.1  # m; a point nearer than that is not projected


def shrink(rgb: Tensor, inverse_depth: Tensor) -> Tensor:
    """Return what is kept of a frame for the next: (M, 2, H/2, W/2) grey and inverse depth.

    Args:
        rgb: (M, 3, H, W).
        inverse_depth: (M, 1, H, W) 1/m, 0 where there is none; it is not averaged.
    """
    grey = F.avg_pool2d(rgb.float().mean(dim=1, keepdim=True), HALF)
    return torch.cat([grey, inverse_depth[..., ::HALF, ::HALF].float()], dim=1)


def change(now: Tensor, before: Tensor, ego: Tensor, camera: Tensor) -> Tensor:
    """Return how each pixel differs from what was there before, (M, CHANGE_CHANNELS, h, w).

    Channels: difference of grey; relative difference of distance, cut to [-1, 1]; and 1 where it
    could be told, which is 0 where depth, the camera's motion or the frame before is missing.

    Args:
        now: (M, 2, h, w) from `shrink`.
        before: the same of the frame before.
        ego: (M, 3, 4) from the camera of the frame before to this one's, zeros where unknown.
        camera: (M, 4) fx, fy, cx, cy in pixels of the whole image, the same in both frames.
    """
    # Metres need all digits, whatever precision the network is run in.
    with torch.autocast(now.device.type, enabled=False):
        height, width = now.shape[-2:]
        fx, fy, cx, cy = camera[:, :, None, None].unbind(1)  # (M, 1, 1)
        u = torch.arange(width, device=now.device) * HALF + 0.5
        v = (torch.arange(height, device=now.device) * HALF + 0.5)[:, None]
        seen = now[:, 1] > 0
        z = 1.0 / now[:, 1].masked_fill(~seen, 1.0)
        here = torch.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], dim=-1)  # (M, h, w, 3)
        R, t = ego[:, :, :3], ego[:, :, 3]
        there = (here - t[:, None, None]) @ R[:, None]  # R transposed, applied to rows
        depth = there[..., 2]
        known = seen & (depth > NEAREST)
        ahead = depth.clamp(min=NEAREST)
        x = (there[..., 0] / ahead * fx + cx + 0.5) / (width * HALF)
        y = (there[..., 1] / ahead * fy + cy + 0.5) / (height * HALF)
        known = known & (x > 0) & (x < 1) & (y > 0) & (y < 1)
        grid = torch.stack([2 * x - 1, 2 * y - 1], dim=-1)
        measured = (before[:, 1:] > 0).to(before.dtype)
        then = F.grid_sample(torch.cat([before, measured], dim=1), grid, align_corners=False)
        # Where the frame before had depth on all sides its inverse is between two measured ones.
        deep = known & (then[:, 2] > 0.99)
        distance = (depth * then[:, 1] - 1.0).clamp(-1.0, 1.0).masked_fill(~deep, 0.0)
        grey = (now[:, 0] - then[:, 0]).masked_fill(~known, 0.0)
        return torch.stack([grey, distance, known.to(grey.dtype)], dim=1)


def carry(
    measured: Tensor, gain: Tensor, velocity: Tensor, ego: Tensor, dt: Tensor, position: Tensor
) -> Tensor:
    """Return where the probes' objects are now, (B, P, 3) m in the camera's frame.

    A filter whose gain is learned: the last position is carried along with the camera and the
    object's own velocity, then corrected by what is measured now,

        c = R p + t + v dt        p' = c + g (m - c)

    so that an unseen object (g = 0) at rest stays where it is in the world, to the odometry.

    Args:
        measured: (B, P, 3).
        gain: (B, P) in [0, 1].
        velocity: (B, P, 3) m/s in the camera's frame, of the object in the world.
        ego: (B, 3, 4) as in `change`; where unknown the camera is taken to stand still.
        dt: (B,) s.
        position: (B, P, 3) before.
    """
    with torch.autocast(position.device.type, enabled=False):
        R, t = ego[:, :, :3], ego[:, :, 3]
        known = (R != 0).any(dim=-1).any(dim=-1)[:, None, None]
        moved = torch.where(known, position @ R.transpose(1, 2) + t[:, None], position)
        carried = moved + velocity * dt[:, None, None]
        return torch.lerp(carried, measured, gain[..., None])
