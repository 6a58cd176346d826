# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places: what a frame's points say of where it is, learned from whole tours of halls.

    python -m pervformer_ros.training.places out/tours --init A.safetensors --out B.safetensors

All but the head for places stays as it is in A, so that each image is looked at once. The tours are
shards of minutes: `python -m pervformer_ros.sim.shards out/tours --every 5 …`
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from pervformer_ros.model import PervFormer
from pervformer_ros.model.config import FINEST
from pervformer_ros.model.heads import PlaceHead, place_points
from pervformer_ros.training.one_head import Report, run_command
from pervformer_ros.training.recording import Recording

SAME_PLACE = (1.5, 0.35)  # m, rad: two frames nearer than both show the same place
OTHER_PLACE = (2.2, 0.55)  # two frames farther than either show different ones
TEMPERATURE = 0.07
TOURS, FRAMES = 2, 96  # that a step compares
UNSEEN = 0.3  # share of the points that a frame is told without
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.05
STEPS = 2000


@dataclass(frozen=True, slots=True)
class Tour:
    """One drive through a hall: N frames as the head for places sees them.

    descriptors: (N, L, E) float16; weight: (N, L) float16.
    T_map_camera: (N, 4, 4).
    hall: its seed.
    """

    descriptors: Tensor
    weight: Tensor
    T_map_camera: Tensor
    hall: int

    def __len__(self) -> int:
        return len(self.T_map_camera)


@torch.inference_mode()
def look(model: PervFormer, recording: Recording) -> Tour:
    """Return what a model's points are along a recording; what truly moves does not count."""
    size = model.config.image_size
    seen = []
    for frame in range(len(recording)):
        image = cv2.resize(recording.rgb(frame), size[::-1], interpolation=cv2.INTER_AREA)
        rgb = torch.from_numpy(image).permute(2, 0, 1)[None] / 255.0
        cells = place_points(model.heads.points(rgb), _moving(recording, frame, size)[None])
        seen.append([x[0].half() for x in cells])
    descriptors, weight = (torch.stack(x) for x in zip(*seen, strict=True))
    pose = torch.from_numpy(recording.T_map_camera).float()
    return Tour(descriptors, weight, pose, recording.world)


def _moving(recording: Recording, frame: int, size: tuple[int, int]) -> Tensor:
    """Return motion as the model says it, (h4, w4) logits."""
    moves = np.concatenate([[False], recording.moving[frame]])[recording.instance[frame]]
    cells = size[1] // FINEST, size[0] // FINEST
    share = cv2.resize(moves.astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    return torch.logit(torch.from_numpy(share), eps=1e-3)


def place_loss(place: Tensor, T_map_camera: Tensor, hall: Tensor) -> Tensor:
    """Tell frames of the same place from all others, those of the same hall above all.

    Args:
        place: (M, E) of unit length.
        T_map_camera: (M, 4, 4).
        hall: (M,).
    """
    apart = torch.cdist(T_map_camera[:, :3, 3], T_map_camera[:, :3, 3])
    ahead = T_map_camera[:, :3, 2]  # the optical axis
    turned = torch.arccos((ahead @ ahead.T).clamp(-1, 1))
    together = hall[:, None] == hall
    itself = torch.eye(len(place), dtype=torch.bool)
    same = together & (apart < SAME_PLACE[0]) & (turned < SAME_PLACE[1]) & ~itself
    other = ~together | (apart > OTHER_PLACE[0]) | (turned > OTHER_PLACE[1])
    logits = (place @ place.T / TEMPERATURE).masked_fill(~(same | other), -torch.inf)
    log_p = torch.log_softmax(logits, dim=1).masked_fill(~same, 0.0)
    count = same.sum(1)
    return (-log_p.sum(1) / count.clamp(min=1))[count > 0].mean()


def learn(
    head: PlaceHead,
    tours: Sequence[Tour],
    steps: int,
    seed: int = 0,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train a head for places.

    Args:
        head: of the model whose points these are.
        tours: of two halls or more.
        steps: of the optimiser.
        seed: what is drawn depends on it.
        report: called with steps done and the loss.

    Raises:
        ValueError: if all tours are of one hall.
    """
    halls = sorted({tour.hall for tour in tours})
    if len(halls) < TOURS:
        raise ValueError(f"tours of {len(halls)} hall: places are told apart by {TOURS} or more")
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / steps)
        chosen = [_draw(rng, tours, hall) for hall in rng.choice(halls, TOURS, replace=False)]
        descriptors, weight, poses, hall = (torch.cat(x) for x in zip(*chosen, strict=True))
        loss = place_loss(head(descriptors, weight), poses, hall)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        report(step + 1, loss.item())


def _draw(
    rng: np.random.Generator, tours: Sequence[Tour], hall: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return some frames of a tour of a hall, without some of their points.

    They are descriptors, weights, poses and the hall, as in a Tour.
    """
    there = [tour for tour in tours if tour.hall == hall]
    tour = there[rng.integers(len(there))]
    frames = torch.from_numpy(rng.permutation(len(tour))[:FRAMES])
    weight = tour.weight[frames].float()
    seen = torch.from_numpy(rng.random(weight.shape) >= UNSEEN)
    pose = tour.T_map_camera[frames]
    return tour.descriptors[frames].float(), weight * seen, pose, torch.full((len(pose),), hall)


def main() -> None:
    """Look along all tours, learn, and write the weights with their new head for places."""

    def learned(
        model: PervFormer, tours: list[Tour], steps: int, seed: int, report: Report
    ) -> dict[str, int]:
        def told(step: int, loss: float) -> None:
            report(step, f"loss {loss:.3f}")

        learn(model.heads.place, tours, steps, seed, told)
        return {"frames": sum(map(len, tours))}

    run_command(__doc__, "tours", "places", STEPS, look, learned)


if __name__ == "__main__":
    main()
