# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes: what was found, where it ends and how sure that is, learned by looking at it again.

    python -m pervformer_ros.training.boxes out/shards --init A.safetensors --out B.safetensors

All but the head for boxes stays as it is in A. So each image is perceived once, and what A finds in
it is looked at again many times: moved a little, mirrored, in other colours, without depth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.bags.ground_truth import boxes_of
from pervformer_ros.geometry import invert
from pervformer_ros.model import Perceiver, PervFormer
from pervformer_ros.model.boxes import BoxHead
from pervformer_ros.model.decode import LOOKED_AT, area, box_iou
from pervformer_ros.model.looks import Corrected, Found, Picture
from pervformer_ros.training.one_head import Report, descend, run_command
from pervformer_ros.training.recording import Recording
from pervformer_ros.training.targets import LEAST_PIXELS

FIRST = 3  # images of a recording that are passed over: memory has to begin
SECONDS_APART = 0.25  # of the images that are perceived
IMAGES, LOOKS = 12, 16  # of a step, and of an image of it
ASKED_IOU = 0.15  # with an object of its class, from which a find is taken for it,
OTHER_IOU = 0.4  # and with one of another class,
RATHER = 0.3  # which must overlap it by so much more than one of its own
IGNORED_IOU = 0.3  # with an object that shows too little to be asked for: nothing is asked then
MOVED, MOST_MOVED = 0.6, 0.16  # share of looks that are moved; by how much of the box's size
MIRRORED, NO_DEPTH, NO_CELLS = 0.5, 0.1, 0.4  # shares of images
COLOUR, LIGHT, NOISE = 0.15, 0.05, 0.03  # standard deviations
KIND = 0.5  # what the class counts for in the loss
STEPS = 5500


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One image as the head for boxes sees it, and what is truly there.

    rgb: (3, H, W) uint8. inverse_depth: (1, H, W) float16, 0 = none.
    cells: (neck, h8, w8) and prototypes: (Q, h4, w4) bfloat16.
    found: K finds of M = 1 image.
    box: (N, 4) fractions of the image; category: (N,); pixels: (N,) that show the object.
    body: (N,) which object of the recording it is.
    """

    rgb: Tensor
    inverse_depth: Tensor
    cells: Tensor
    prototypes: Tensor
    found: Found
    box: Tensor
    category: Tensor
    pixels: Tensor
    body: Tensor


class Asked(NamedTuple):
    """What is asked of the finds (M, K) of a batch."""

    box: Tensor  # (M, K, 4)
    category: Tensor  # (M, K)
    true: Tensor  # (M, K) 1 where the find is of an object
    counts: Tensor  # (M, K) 0 where nothing is asked


@torch.inference_mode()
def look(
    model: PervFormer, recording: Recording, head: nn.Module, least_score: float
) -> list[Scene]:
    """Return the images of a recording in which anything is found, as a head of the model sees it.

    Args:
        model: finds.
        recording: in which.
        head: for boxes, or another one that looks again.
        least_score: from which a find is reported.
    """
    given: list[tuple[Picture, Found]] = []
    hook = head.register_forward_pre_hook(lambda head, args: given.append(args))
    perceiver, scenes = Perceiver(model, score_threshold=least_score), []
    state, update, before = perceiver.init_state(), None, 0
    step = max(1, round(SECONDS_APART / float(np.median(np.diff(recording.time)))))
    try:
        for frame in range(0, len(recording), step):
            percept, state = perceiver.perceive(
                recording.rgb(frame),
                recording.metres(frame),
                float(recording.time[frame] - recording.time[before]),
                state,
                update,
                K=recording.K,
                T_now_before=invert(recording.T_odom_camera[frame])
                @ recording.T_odom_camera[before],
            )
            update, before = percept.update, frame
            if given and frame >= FIRST * step:
                scenes.append(_scene(recording, frame, *given[-1]))
            given.clear()
    finally:
        hook.remove()
    return scenes


def _scene(recording: Recording, frame: int, picture: Picture, found: Found) -> Scene:
    there = boxes_of(recording.instance[frame])
    height, width = recording.shape
    box = np.array([corners for _, corners in there.values()], np.float32).reshape(-1, 4)
    bodies = np.array(list(there), np.int64) - 1
    return Scene(
        rgb=(picture.rgb[0] * 255).round().byte(),
        inverse_depth=(picture.inverse_depth * picture.depth_valid)[0].half(),
        cells=picture.cells[0].bfloat16().contiguous(),
        prototypes=picture.mask_prototypes[0].bfloat16(),
        found=found,
        box=torch.from_numpy(box / np.array([width, height] * 2, np.float32)),
        category=torch.from_numpy(recording.classes[bodies]),
        pixels=torch.tensor([pixels for pixels, _ in there.values()]),
        body=torch.from_numpy(bodies),
    )


def learn(
    head: BoxHead,
    scenes: Sequence[Scene],
    steps: int,
    seed: int = 0,
    report: Callable[[int, dict[str, float]], None] = lambda step, found: None,
) -> None:
    """Train a head for boxes; in the end it has the running average of its weights.

    Args:
        head: of the model that found what the scenes hold.
        scenes: one or more.
        steps: of the optimiser.
        seed: what is drawn depends on it.
        report: called with steps done and how it goes: loss; and of what is of an object, the mean
            overlap of boxes with it, before and after.

    Raises:
        ValueError: if there is no scene.
    """
    if not scenes:
        raise ValueError("nothing was found in the shards: train the model first")
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # for what drops out
    overlaps: dict[str, float] = {}

    def loss() -> Tensor:
        chosen = torch.randint(len(scenes), (IMAGES,), generator=random)
        picture, found, asked = draw([scenes[i] for i in chosen.tolist()], random)
        said = head(picture, found)
        for name, told in (("before", found.box), ("after", said.box.detach())):
            overlaps[name] = _mean(overlap(told, asked.box), asked.true).item()
        return box_losses(said, asked)

    descend(head, steps, loss, lambda step, value: report(step, {"loss": value, **overlaps}))


def draw(scenes: Sequence[Scene], random: torch.Generator) -> tuple[Picture, Found, Asked]:
    """Return a batch: of every image LOOKS finds, all of it changed as it may look elsewhere."""
    finds, asks = zip(*(_draw(scene, random) for scene in scenes), strict=True)
    found = Found(*map(torch.stack, zip(*finds, strict=True)))
    asked = Asked(*map(torch.stack, zip(*asks, strict=True)))
    rgb = torch.stack([scene.rgb for scene in scenes]) / 255
    inverse, cells, prototypes = (
        torch.stack([getattr(scene, name) for scene in scenes]).float()
        for name in ("inverse_depth", "cells", "prototypes")
    )

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    count = len(scenes)
    rgb = rgb * torch.exp(COLOUR * normal(count, 3, 1, 1)) + LIGHT * normal(count, 1, 1, 1)
    rgb = rgb + NOISE * torch.rand(count, 1, 1, 1, generator=random) * normal(*rgb.shape)
    inverse = inverse * (torch.rand(count, 1, 1, 1, generator=random) >= NO_DEPTH)
    cells = cells * (torch.rand(count, 1, 1, 1, generator=random) >= NO_CELLS)
    picture = Picture(rgb.clamp(0, 1), inverse, (inverse > 0).float(), cells, prototypes)
    if torch.rand((), generator=random) < MIRRORED:
        picture = Picture(*(x.flip(-1) for x in picture))
        found = found._replace(box=_mirrored(found.box))
        asked = asked._replace(box=_mirrored(asked.box))
    return picture, found, asked


def _draw(scene: Scene, random: torch.Generator) -> tuple[Found, Asked]:
    """Return LOOKS finds of a scene, moved or not, and what is asked of each."""
    score = scene.found.score[0]
    chosen = torch.multinomial(score.sqrt(), LOOKS, replacement=True, generator=random)
    found = Found(*(x[0][chosen] for x in scene.found))
    size = (found.box[:, 2:] - found.box[:, :2]).repeat(1, 2)
    by = MOST_MOVED * torch.rand(LOOKS, 1, generator=random)
    by = by * (torch.rand(LOOKS, 1, generator=random) < MOVED)
    box = (found.box + by * size * torch.randn(LOOKS, 4, generator=random)).clamp(0, 1)
    found = found._replace(box=box)
    if not len(scene.box):
        nothing = torch.zeros(LOOKS)
        return found, Asked(torch.zeros(LOOKS, 4), found.class_index, nothing, nothing + 1)
    shared = box_iou(box[None], scene.box[None])[0]  # (LOOKS, N)
    shown = scene.pixels >= LEAST_PIXELS
    same = found.class_index[:, None] == scene.category
    mine = shown & (shared >= torch.where(same, ASKED_IOU, OTHER_IOU))
    most, which = ((shared + RATHER * same) * mine).max(dim=1)
    true = most > 0
    ignored = ~true & (shared * ~shown > IGNORED_IOU).any(dim=1)
    asked = Asked(scene.box[which], scene.category[which], true.float(), (~ignored).float())
    return found, asked


def box_losses(said: Corrected, asked: Asked) -> Tensor:
    """Return 1 - GIoU (arXiv:1902.09630) and distances of sides, and cross-entropies.

    The score is asked to be the overlap of the box with its object, 0 where there is none, or where
    it is said to be something else.
    """
    box = said.box
    shared, union = _shared_and_union(box, asked.box)
    alike = shared / union
    hull = area(torch.minimum(box, asked.box)[..., :2], torch.maximum(box, asked.box)[..., 2:])
    outside = (hull - union) / hull.clamp(min=1e-9)
    size = (asked.box[..., 2:] - asked.box[..., :2]).clamp(min=0.01).repeat(1, 1, 2)
    aside = ((box - asked.box).abs() / size).clamp(max=3.0).mean(-1)
    right = said.class_index == asked.category
    score = F.binary_cross_entropy_with_logits(
        said.logits, alike.detach() * right * asked.true, reduction="none"
    )
    kind = F.cross_entropy(said.kinds.flatten(0, 1), asked.category.flatten(), reduction="none")
    where = 1 - alike + outside + aside + KIND * kind.reshape(alike.shape)
    return _mean(where, asked.true) + _mean(score, asked.counts)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Return the overlap over union (...) of boxes (..., 4), one by one."""
    shared, union = _shared_and_union(a, b)
    return shared / union


def _shared_and_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    shared = area(torch.maximum(a, b)[..., :2], torch.minimum(a, b)[..., 2:])
    union = area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - shared
    return shared, union.clamp(min=1e-9)


def _mirrored(box: Tensor) -> Tensor:
    left, top, right, bottom = box.unbind(-1)
    return torch.stack([1 - right, top, 1 - left, bottom], dim=-1)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def main() -> None:
    """Perceive all shards, learn, and write the weights with their new head for boxes."""

    def seen_in(model: PervFormer, recording: Recording) -> list[Scene]:
        return look(model, recording, model.heads.boxes, LOOKED_AT)

    def learned(
        model: PervFormer, seen: list[list[Scene]], steps: int, seed: int, report: Report
    ) -> dict[str, int]:
        def told(step: int, found: dict[str, float]) -> None:
            report(step, ", ".join(f"{name} {value:.3f}" for name, value in found.items()))

        scenes = [scene for some in seen for scene in some]
        learn(model.heads.boxes, scenes, steps, seed, told)
        return {"images": len(scenes)}

    run_command(__doc__, "shards", "boxes", STEPS, seen_in, learned)


if __name__ == "__main__":
    main()
