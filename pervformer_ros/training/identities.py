# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Identities: who a find is, learned from how the same things look from moment to moment.

    python -m pervformer_ros.training.identities out/lives --init A.safetensors --out B.safetensors

All but the head for identities stays as it is in A. The shards should show the same people for a
while: `python -m pervformer_ros.sim.shards out/lives --seconds 5 --every 4 …` spreads them.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pervformer_ros.model import PervFormer
from pervformer_ros.model.config import CLASSES
from pervformer_ros.model.decode import box_iou
from pervformer_ros.model.identity import IdentityHead
from pervformer_ros.model.looks import GRID, Found, Picture
from pervformer_ros.training import boxes
from pervformer_ros.training.boxes import Scene
from pervformer_ros.training.one_head import Report, descend, run_command
from pervformer_ros.training.recording import Recording
from pervformer_ros.training.targets import LEAST_PIXELS

LEAST_SCORE = 0.1  # of what is looked at
FOUND_IOU = 0.5  # with an object of its class, from which a find shows it
VIEWS, MOVED = 4, 0.05  # looks at each find; by how much of its size their boxes are moved
TIMES = 4  # that a body is looked at in a step, and at least found
GROUPS, BODIES = 40, 4  # of a step: things of one class in one recording; and how many of them
# How often groups are drawn: of several that can be mistaken for each other, and of people, more.
MATES, PEOPLE = 4.0, 3.0
TEMPERATURE = 0.07
RIVALS = 30.0  # others in the same recording count for so many: with these it may be mistaken
LIGHT, COLOUR, LIFT, NOISE = 0.03, 0.05, 0.015, 0.03  # standard deviations
HIDDEN, MOST_HIDDEN = 0.3, 0.5  # share of looks of which a part is hidden; how much of them
STEPS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Lives:
    """What N finds along one recording look like.

    crops: (N, VIEWS, 4, GRID, GRID) float16, see IdentityHead.crop.
    body: (N,) which object of the recording; category: (N,).
    world: the seed: its recordings show the same people.
    """

    crops: Tensor
    body: Tensor
    category: Tensor
    world: int


@torch.inference_mode()
def look(model: PervFormer, recording: Recording) -> Lives:
    """Return what is found of the objects of a recording."""
    random = torch.Generator().manual_seed(recording.world)
    head = model.heads.identity
    scenes = boxes.look(model, recording, head, LEAST_SCORE)
    seen = [_nothing(), *(_crops(head, scene, random) for scene in scenes)]
    crops, body, category = (torch.cat(parts) for parts in zip(*seen, strict=True))
    return Lives(crops, body, category, recording.world)


def _nothing() -> tuple[Tensor, Tensor, Tensor]:
    crops = torch.zeros(0, VIEWS, 4, GRID, GRID, dtype=torch.float16)
    return crops, torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)


def _crops(
    head: IdentityHead, scene: Scene, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return crops, bodies and classes of a scene: of each body the find that fits it best."""
    if not len(scene.box):
        return _nothing()
    shared = box_iou(scene.found.box, scene.box[None])[0]  # (K, N)
    same = scene.found.class_index[0][:, None] == scene.category
    shared = shared * (same & (scene.pixels >= LEAST_PIXELS))
    most, which = shared.max(dim=0)
    shown = most > FOUND_IOU
    found = Found(*(x[:, which[shown]] for x in scene.found))
    inverse = scene.inverse_depth[None].float()
    picture = Picture(
        scene.rgb[None] / 255, inverse, (inverse > 0).float(),
        scene.cells[None].float(), scene.prototypes[None].float(),
    )  # fmt: skip
    size = (found.box[..., 2:] - found.box[..., :2]).repeat(1, 1, 2)
    views = []
    for view in range(VIEWS):
        by = MOVED * size * torch.randn(size.shape, generator=random) if view else 0.0
        box = (found.box + by).clamp(0, 1)
        views.append(head.crop(picture, found._replace(box=box))[0].half())
    return torch.stack(views, dim=1), scene.body[shown], scene.category[shown]


class Who(NamedTuple):
    """Whose the looks (N,) of a batch are.

    body: numbers, each there twice or more; category: its class.
    life: number of the recording; world: its seed.
    """

    body: Tensor
    category: Tensor
    life: Tensor
    world: Tensor


def identity_loss(embedding: Tensor, who: Who) -> Tensor:
    """Tell each look of a body from those of all others of its class (arXiv:2004.11362).

    From those in the same recording most of all; but not from those in another recording of the
    same world: they may be the same.

    Args:
        embedding: (N, E) of unit length.
        who: of them.
    """
    body, category, life, world = (x[:, None] == x for x in who)
    itself = torch.eye(len(embedding), dtype=torch.bool)
    alike = body & ~itself
    unasked = itself | ~category | (world & ~life)
    logits = embedding @ embedding.T / TEMPERATURE + math.log(RIVALS) * (life & ~body)
    logits = logits.masked_fill(unasked, -torch.inf)
    log_p = torch.log_softmax(logits, dim=1).masked_fill(~alike, 0.0)
    return -(log_p.sum(dim=1) / alike.sum(dim=1)).mean()


def changed(crops: Tensor, random: torch.Generator) -> Tensor:
    """Return crops (N, 4, GRID, GRID) in other light, some partly hidden, half of them mirrored."""
    count = len(crops)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=random)

    def share(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=random)

    colour, own = torch.split(crops.float(), [3, 1], dim=1)
    colour = colour * torch.exp(LIGHT * normal(1, 1, 1) + COLOUR * normal(3, 1, 1))
    colour = colour + LIFT * normal(1, 1, 1) + NOISE * share(1, 1, 1) * normal(3, GRID, GRID)
    steps = (torch.arange(GRID) + 0.5) / GRID
    backwards, across = share(1, 1, 1) < 0.5, share(1, 1, 1) < 0.5
    steps = torch.where(backwards, steps.flip(0), steps)  # (N, 1, 1, GRID)
    steps = torch.where(across, steps, steps.transpose(2, 3))
    hidden = (steps < MOST_HIDDEN * share(1, 1, 1)) & (share(1, 1, 1) < HIDDEN)
    crops = torch.cat([colour.clamp(0, 1), own * ~hidden], dim=1)
    return torch.where(share(1, 1, 1) < 0.5, crops, crops.flip(-1))


def learn(
    head: IdentityHead,
    lives: Sequence[Lives],
    steps: int,
    seed: int = 0,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train a head for identities; in the end it has the running average of its weights.

    Args:
        head: of the model that found what the lives hold.
        lives: one or more.
        steps: of the optimiser.
        seed: what is drawn depends on it.
        report: called with steps done and the loss.

    Raises:
        ValueError: if nothing was found often enough.
    """
    groups = _groups(lives)
    if not groups:
        raise ValueError(f"nothing was found {TIMES} times in a shard: train the model first")
    rng, random = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # for what drops out
    often = np.array([group.often for group in groups])

    def loss() -> Tensor:
        chosen = rng.choice(
            len(groups), min(GROUPS, len(groups)), replace=False, p=often / often.sum()
        )
        crops, who = _draw(rng, lives, [groups[i] for i in chosen])
        return identity_loss(head.tell(changed(crops, random), who.category), who)

    descend(head, steps, loss, report)


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """The things of one class along one recording: for each, the rows of its finds."""

    life: int
    category: int
    rows: list[NDArray[np.int64]]

    @property
    def often(self) -> float:
        """Return how often it is drawn, relative to others."""
        people = PEOPLE if CLASSES[self.category] == "person" else 1.0
        return people * (MATES if len(self.rows) > 1 else 1.0)


def _groups(lives: Sequence[Lives]) -> list[_Group]:
    groups = []
    for number, life in enumerate(lives):
        rows: dict[int, list[NDArray[np.int64]]] = defaultdict(list)
        body = life.body.numpy()
        for one in np.unique(body):
            mine = np.flatnonzero(body == one)
            if len(mine) >= TIMES:
                rows[int(life.category[mine[0]])].append(mine)
        groups += [_Group(number, category, found) for category, found in rows.items()]
    return groups


def _draw(
    rng: np.random.Generator, lives: Sequence[Lives], groups: Sequence[_Group]
) -> tuple[Tensor, Who]:
    """Return crops (N, 4, GRID, GRID) of bodies of the groups, and whose they are."""
    crops, who = [], []
    for group in groups:
        for body in rng.permutation(len(group.rows))[:BODIES]:
            rows = torch.from_numpy(rng.choice(group.rows[body], TIMES, replace=False))
            views = torch.from_numpy(rng.integers(VIEWS, size=TIMES))
            life = lives[group.life]
            crops.append(life.crops[rows, views])
            who += [(len(crops), group.category, group.life, life.world)] * TIMES
    return torch.cat(crops), Who(*torch.tensor(who).unbind(1))


def main() -> None:
    """Look along all shards, learn, and write the weights with their new head for identities."""

    def learned(
        model: PervFormer, lives: list[Lives], steps: int, seed: int, report: Report
    ) -> dict[str, int]:
        def told(step: int, loss: float) -> None:
            report(step, f"loss {loss:.3f}")

        learn(model.heads.identity, lives, steps, seed, told)
        return {
            "crops": sum(len(life.body) for life in lives),
            "bodies": sum(len(group.rows) for group in _groups(lives)),
        }

    run_command(__doc__, "shards", "identity", STEPS, look, learned)


if __name__ == "__main__":
    main()
