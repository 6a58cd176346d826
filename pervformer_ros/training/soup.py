# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Weights between two checkpoints, of which one was trained on from the other's."""

from pathlib import Path

import torch

from pervformer_ros.model import load_model, save_model


def average(first: Path, second: Path, share: float, out: Path) -> None:
    """Write the weights that lie on the line between two models.

    Weights that went on from the same ones often do better between than at either end, and keep
    what each has learned (model soups, Wortsman et al. 2022, https://arxiv.org/abs/2203.05482).

    Args:
        first: a checkpoint.
        second: another, of the same configuration.
        share: of the second, in [0, 1].
        out: where to.

    Raises:
        CheckpointError: if one of them cannot be loaded.
        ValueError: if they are not of one configuration, or share is no share.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the second's share is {share}: give a number from 0 to 1")
    one, other = load_model(first), load_model(second)
    if one.model.config != other.model.config:
        raise ValueError(f"{first} and {second} are models of different configurations")
    shrinks = [x.info.card.get("training", {}).get("shrink", 1) for x in (one, other)]
    if shrinks[0] != shrinks[1]:
        raise ValueError(f"{first} and {second} were trained on images of different sizes")
    theirs = other.model.state_dict()
    with torch.no_grad():
        for name, mine in one.model.state_dict().items():
            mine.lerp_(theirs[name], share)
    card = {
        "share_of_second": share,
        "average_of": [dict(x.info.card) for x in (one, other)],
        "training": {"shrink": shrinks[0]},  # so that training goes on at the right size
    }
    save_model(out, one.model, trained=one.info.trained and other.info.trained, card=card)
