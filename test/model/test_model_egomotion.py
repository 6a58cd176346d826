# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the camera's own motion explains is no change; what is not seen stays where it is."""

import numpy as np
import pytest
import torch
from model_clips import random_clip, run_by_frames
from torch import Tensor

from pervformer_ros.geometry import invert, make_rotation
from pervformer_ros.model import Percept, create_model
from pervformer_ros.model.egomotion import carry, change, shrink

HEIGHT, WIDTH, FOCAL = 96, 128, 100.0
CAMERA = torch.tensor([[FOCAL, FOCAL, (WIDTH - 1) / 2, (HEIGHT - 1) / 2]])


def wall(T_map_camera: np.ndarray, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return grey waves on the wall z = 4 m, and its inverse depth, exactly.

    A disc of 0.5 m around x = shift hangs one metre before the wall, with waves of its own.
    """
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    cx, cy = CAMERA[0, 2:].numpy()
    ray = np.stack([(u - cx) / FOCAL, (v - cy) / FOCAL, np.ones_like(u, float)], -1)
    ray = ray @ T_map_camera[:3, :3].T
    origin = T_map_camera[:3, 3]

    def hit(z: float) -> tuple[np.ndarray, np.ndarray]:
        distance = (z - origin[2]) / ray[..., 2]
        return origin + distance[..., None] * ray, distance

    far, z_far = hit(4.0)
    near, z_near = hit(3.0)
    on_disc = np.hypot(near[..., 0] - shift, near[..., 1]) < 0.5
    grey = 0.5 + 0.3 * np.sin(3 * far[..., 0]) * np.cos(2 * far[..., 1])
    grey = np.where(on_disc, 0.5 + 0.3 * np.cos(4 * (near[..., 0] - shift)), grey)
    z = np.where(on_disc, z_near, z_far)
    rgb = torch.tensor(np.broadcast_to(grey, (1, 3, HEIGHT, WIDTH)).copy(), dtype=torch.float32)
    return rgb, torch.tensor(1 / z, dtype=torch.float32)[None, None]


def pose(x: float, yaw: float) -> np.ndarray:
    T = make_rotation((0.01, yaw, 0))
    T[:3, 3] = x, 0.02, 0.1 * x
    return T


def seen_change(shift: float, ego_known: bool = True) -> Tensor:
    before, after = pose(0.0, 0.0), pose(0.12, 0.03)
    ego = torch.tensor((invert(after) @ before)[None, :3], dtype=torch.float32)
    then, now = shrink(*wall(before)), shrink(*wall(after, shift))
    return change(now, then, ego * float(ego_known), CAMERA)[0]


def test_a_world_that_stands_still_does_not_change() -> None:
    grey, distance, known = seen_change(shift=0.0)
    assert known.mean() > 0.85
    # Outlines are uncovered and covered; everything else is explained.
    assert (grey.abs() < 0.02).float().mean() > 0.95
    assert (distance.abs() < 0.02).float().mean() > 0.95
    assert distance.abs().median() < 1e-3


def test_what_moves_by_itself_changes() -> None:
    still, moved = seen_change(shift=0.0), seen_change(shift=0.25)
    assert (moved[1].abs() > 0.1).sum() > 4 * (still[1].abs() > 0.1).sum()


def test_unknown_motion_tells_nothing() -> None:
    assert not seen_change(shift=0.25, ego_known=False).any()


def test_without_depth_nothing_is_told() -> None:
    rgb, inverse = wall(pose(0, 0))
    then, now = shrink(rgb, inverse), shrink(rgb, inverse * 0)
    assert not change(now, then, torch.eye(3, 4)[None], CAMERA).any()


def test_an_unseen_object_stays_where_it_is_in_the_world() -> None:
    place = np.array([1.0, 0.3, 4.0])
    position = torch.tensor(place, dtype=torch.float32)[None, None]
    T_before = pose(0.0, 0.0)
    place_in_map = T_before[:3, :3] @ place + T_before[:3, 3]
    zero, never = torch.zeros(1, 1, 3), torch.zeros(1, 1)
    for i in range(1, 50):
        T = pose(0.05 * i, 0.02 * i)
        ego = torch.tensor((invert(T) @ T_before)[None, :3], dtype=torch.float32)
        position = carry(zero, never, zero, ego, torch.tensor([0.1]), position)
        T_before = T
    expected = invert(T)[:3, :3] @ place_in_map + invert(T)[:3, 3]
    assert position[0, 0].numpy() == pytest.approx(expected, abs=1e-4)


def test_geometry_is_exact_whatever_the_network_is_run_in() -> None:
    exact = seen_change(shift=0.3)
    zero, never = torch.zeros(1, 1, 3), torch.zeros(1, 1)
    forward = torch.eye(3, 4)[None].clone()
    forward[0, 2, 3] = -0.02
    position = torch.tensor([[[1.0, 0.3, 4.0]]])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(seen_change(shift=0.3), exact)
        for _ in range(72):
            position = carry(zero, never, zero, forward, torch.tensor([0.1]), position)
    assert position[0, 0].tolist() == pytest.approx([1.0, 0.3, 4.0 - 72 * 0.02], abs=1e-4)


def test_a_position_is_corrected_by_its_gain_and_moves_with_its_velocity() -> None:
    position, measured = torch.zeros(1, 1, 3), torch.full((1, 1, 3), 4.0)
    velocity, gain = torch.full((1, 1, 3), 2.0), torch.full((1, 1), 0.25)
    unknown = torch.zeros(1, 3, 4)
    after = carry(measured, gain, velocity, unknown, torch.tensor([0.5]), position)
    torch.testing.assert_close(after, torch.full((1, 1, 3), 1.75))


@pytest.mark.parametrize(("visible", "way"), [(20.0, 2.0), (-20.0, 0.0)])
def test_what_is_out_of_sight_is_taken_to_rest(visible: float, way: float) -> None:
    model = create_model("tiny").eval()
    clip = random_clip(model, 1, 2, events=0.0)
    clip.birth[:, 0] = True
    clip = clip._replace(ego=torch.eye(3, 4).expand_as(clip.ego), dt=torch.full((1, 2), 0.5))

    def override(module: torch.nn.Module, given: object, percept: Percept) -> Percept:
        return percept._replace(
            visible=torch.full_like(percept.visible, visible),
            probe_gain=torch.full_like(percept.probe_gain, -20.0),
            probe_velocity=torch.full_like(percept.probe_velocity, 4.0),
        )

    model.heads.register_forward_hook(override)
    percept, _ = run_by_frames(model, clip)
    before, after = percept.probe_position.unbind(dim=1)
    torch.testing.assert_close(after - before, torch.full_like(before, way))
