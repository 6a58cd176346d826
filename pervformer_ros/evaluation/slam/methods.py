# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The methods that are compared: features with or without masks, with odometry or without."""

from dataclasses import dataclass

METHODS = ("odometry", "orb", "orb_masked", "pervformer_unmasked", "pervformer", "open3d")
MASKS = ("model", "truth")
FUSED, VISUAL = "fused", "visual"


@dataclass(frozen=True, slots=True)
class Method:
    """One way to get a trajectory.

    name: of METHODS.
    odometry: whether it is told odometry: fused, or visual only.
    """

    name: str
    odometry: bool

    @property
    def is_masked(self) -> bool:
        """Whether it leaves out what moves."""
        return self.name in ("orb_masked", "pervformer")

    @property
    def is_learned(self) -> bool:
        """Whether its features are PervFormer's."""
        return self.name.startswith("pervformer")

    @property
    def kind(self) -> tuple[bool, bool, bool]:
        """What it is to be shown: learned features, masked ones, by one who knows odometry."""
        return self.is_learned, self.is_masked, self.odometry

    @property
    def uses_back_end(self) -> bool:
        """Whether its poses come from this project's SLAM."""
        return self.name not in ("odometry", "open3d")


def methods_of(names: str, modes: str = f"{FUSED},{VISUAL}") -> list[Method]:
    """Return the methods of "orb,pervformer", "" for all, each once.

    Args:
        names: of METHODS.
        modes: "fused", "visual" or both, of those that can be either.

    Raises:
        ValueError: if there is no such method or mode.
    """
    chosen = _some_of(METHODS, names or ",".join(METHODS), "method")
    asked = [mode == FUSED for mode in _some_of((FUSED, VISUAL), modes, "mode")]
    only = {"odometry": [True], "open3d": [False]}
    return [Method(name, mode) for name in chosen for mode in only.get(name, asked)]


def _some_of(known: tuple[str, ...], text: str, what: str) -> list[str]:
    chosen = list(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in chosen:
        if word not in known:
            raise ValueError(f"there is no {what} '{word}': use some of {', '.join(known)}")
    return chosen
