# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model card: what weights are and how well they do, as JSON beside them.

NAME.json goes with NAME.safetensors:

    schema      1
    sha256      of the weights it speaks of
    trained     false where they are random
    parameters  how many
    config      every field of PervFormerConfig
    classes     what objects are told apart
    data, seeds, steps, date   of the training, and what else the checkpoint's header says of it
    metrics     [{"command": what printed them, "figures": {name: figure}}]
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pervformer_ros.files import digest
from pervformer_ros.model.checkpoint import CheckpointError, load_model

SCHEMA = 1
TRAINING = ("data", "seeds", "steps", "date")
FIELDS = ("schema", "sha256", "trained", "parameters", "config", "classes", *TRAINING, "metrics")

Figure: TypeAlias = float | int | str | None


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures, and the command that printed them."""

    command: str
    figures: Mapping[str, Figure]


def card_path(checkpoint: Path | str) -> Path:
    """Return where the card of a checkpoint lies."""
    return Path(checkpoint).with_suffix(".json")


def write_card(
    checkpoint: Path | str,
    metrics: Sequence[Metrics] = (),
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write the card of a checkpoint from what its header says, and return the card's path.

    Args:
        checkpoint: what `save_model` wrote.
        metrics: measured on these very weights.
        facts: what the header does not tell, or better; data, seeds, steps and date must come from
            the one or the other.

    Raises:
        CheckpointError: if it cannot be loaded, or how it was trained is not told.
    """
    checkpoint = Path(checkpoint)
    loaded = load_model(checkpoint)
    config, facts = asdict(loaded.model.config), {**loaded.info.card, **(facts or {})}
    if missing := [name for name in TRAINING if name not in facts]:
        raise CheckpointError(
            f"the header of {checkpoint} does not tell {', '.join(missing)}: give them to "
            "`write_card` as facts, or to `save_model` in its card"
        )
    card = {
        "schema": SCHEMA,
        "sha256": loaded.info.digest,
        "trained": loaded.info.trained,
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "config": config,
        "classes": config["classes"],
        **{name: fact for name, fact in facts.items() if name not in FIELDS or name in TRAINING},
        "metrics": [{"command": m.command, "figures": dict(m.figures)} for m in metrics],
    }
    path = card_path(checkpoint)
    path.write_text(json.dumps(card, indent=2, allow_nan=False) + "\n")
    return path


def read_card(checkpoint: Path | str) -> dict[str, Any]:
    """Return the card that lies beside a checkpoint.

    Raises:
        CheckpointError: if there is none, it is no card, or it speaks of other weights.
    """
    checkpoint, path = Path(checkpoint), card_path(checkpoint)
    again = f"write it with `write_card({str(checkpoint)!r})`"
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"there is no model card {path} ({error}): {again}") from error
    if not isinstance(card, dict) or card.get("schema") != SCHEMA or set(FIELDS) - set(card):
        raise CheckpointError(f"{path} is no model card of schema {SCHEMA}: {again}")
    if card["sha256"] != _digest(checkpoint):
        raise CheckpointError(f"{path} speaks of other weights than {checkpoint}: {again}")
    return card


def _digest(checkpoint: Path) -> str:
    try:
        return digest(checkpoint)
    except OSError as error:
        raise CheckpointError(f"{checkpoint} cannot be read: {error}") from error
