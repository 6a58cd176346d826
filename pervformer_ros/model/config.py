# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a PervFormer is made of: one frozen value, and the named sizes."""

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

PATCH = 16  # pixels a token stands for, along each axis; the stem's stride
FINE = 8  # stride of the patch heads
FINEST = 4  # stride of masks, of motion and of descriptors
PLACE_LOOKS = 8  # kinds of points that a place is told by
MAX_RAD = 0.999  # largest decay that the recurrence starts training with

CLASSES = ("person", "forklift", "pallet_jack", "pallet", "box", "roll_cage", "cone", "robot")


@dataclass(frozen=True, slots=True)
class PervFormerConfig:
    """The architecture; everything that decides the name or the shape of a weight is here.

    image_size: height and width in pixels, multiples of 16.
    stem: "conv" (a small convolutional stem) or "patch" (TRecViT's 16x16 patch embedding).
    heads: of the attention, and diagonal blocks of the recurrence's gates, as in TRecViT.
    probes: memory probes; 0 makes TRecViT ("no_probes").
    recurrence: False forgets everything before each frame ("per_frame").
    dt_ref: seconds between frames at which the recurrence decays as its equations say.
    min_rad: smallest decay that the recurrence starts training with.
    """

    image_size: tuple[int, int] = (240, 320)
    stem: Literal["conv", "patch"] = "conv"
    stem_channels: tuple[int, int, int] = (24, 48, 96)
    width: int = 160
    depth: int = 6
    heads: int = 5
    mlp_dim: int = 480
    lru_width: int = 160
    conv_width: int = 4
    probes: int = 32
    recurrence: bool = True
    class_token: bool = False
    classes: tuple[str, ...] = CLASSES
    dt_ref: float = 1 / 15
    min_rad: float = 0.5
    neck_width: int = 96
    mask_size: int = 16
    embedding_size: int = 32
    box_channels: tuple[int, int, int, int] = (24, 32, 64, 96)
    box_hidden: int = 128
    identity_channels: tuple[int, int, int] = (24, 48, 64)
    identity_hidden: int = 128
    point_channels: tuple[int, int, int] = (16, 32, 48)
    descriptor_size: int = 64
    place_size: int = 128

    def __post_init__(self) -> None:
        """Refuse what no model can be built from.

        Raises:
            ValueError: naming the field and what it must be.
        """
        if self.stem not in ("conv", "patch"):
            raise ValueError(f'stem is {self.stem!r}: use "conv" or "patch"')
        if len(self.image_size) != 2 or any(s <= 0 or s % PATCH for s in self.image_size):
            raise ValueError(f"image_size is {self.image_size}: use multiples of {PATCH} pixels")
        for name in ("width", "lru_width"):
            if getattr(self, name) % self.heads:
                raise ValueError(f"{name} must be a multiple of the {self.heads} heads")
        if self.probes < 0 or self.depth < 1 or self.conv_width < 2 or not self.classes:
            raise ValueError("needs probes >= 0, depth >= 1, conv_width >= 2 and a class")
        if not (self.dt_ref > 0 and 0 < self.min_rad < MAX_RAD):
            raise ValueError(f"needs dt_ref > 0 and 0 < min_rad < {MAX_RAD}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patch tokens."""
        return self.image_size[0] // PATCH, self.image_size[1] // PATCH

    @property
    def patches(self) -> int:
        """Patch tokens of a frame."""
        return self.grid[0] * self.grid[1]

    @property
    def tokens(self) -> int:
        """All tokens of a frame: [class token] + patches + probes."""
        return int(self.class_token) + self.patches + self.probes

    def to_json(self) -> str:
        """Return the configuration as a JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "PervFormerConfig":
        """Read what `to_json` wrote.

        Raises:
            ValueError: if it is not a JSON object of exactly this class's fields.
        """
        values: Any = json.loads(text)
        expected = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != expected:
            found = set(values) if isinstance(values, dict) else set()
            raise ValueError(f"fields that differ: {sorted(expected ^ found)}")
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})


VARIANTS: dict[str, PervFormerConfig] = {
    "tiny": PervFormerConfig(
        image_size=(64, 96),
        stem_channels=(8, 16, 24),
        width=48,
        depth=2,
        heads=4,
        mlp_dim=96,
        lru_width=48,
        probes=6,
        neck_width=24,
        mask_size=8,
        embedding_size=16,
        box_channels=(8, 8, 8, 16),
        box_hidden=32,
        identity_channels=(8, 8, 16),
        identity_hidden=32,
        point_channels=(8, 8, 16),
        descriptor_size=32,
        place_size=32,
    ),
    "small": PervFormerConfig(),
    "base": PervFormerConfig(
        image_size=(224, 224),
        stem="patch",
        width=768,
        depth=12,
        heads=12,
        mlp_dim=3072,
        lru_width=1536,
        class_token=True,
        neck_width=128,
    ),
}


def create_config(name: str, **overrides: Any) -> PervFormerConfig:
    """Return the configuration called `name` ("tiny", "small", "base") with fields overridden.

    Raises:
        ValueError: if there is no such name, field, or combination.
    """
    if name not in VARIANTS:
        raise ValueError(f"there is no model {name!r}: choose from {', '.join(VARIANTS)}")
    unknown = set(overrides) - {field.name for field in fields(PervFormerConfig)}
    if unknown:
        raise ValueError(f"a model has no field {', '.join(sorted(unknown))}")
    return replace(VARIANTS[name], **overrides)
