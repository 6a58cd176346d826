# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The methods that are compared: features with or without masks, with odometry or without."""

from dataclasses import dataclass

METHODS = ("odometry", "orb", "orb_masked", "pervformer_unmasked", "pervformer", "open3d")
MASKS = ("model", "truth")


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
    def uses_back_end(self) -> bool:
        """Whether its poses come from this project's SLAM."""
        return self.name not in ("odometry", "open3d")


def methods_of(names: str) -> list[Method]:
    """Return the methods of "orb,pervformer", "" for all, fused and visual-only where both are.

    Raises:
        ValueError: if there is no such method.
    """
    chosen = [name.strip() for name in names.split(",")] if names else list(METHODS)
    for name in chosen:
        if name not in METHODS:
            raise ValueError(f"there is no method '{name}': use some of {', '.join(METHODS)}")
    modes = {"odometry": (True,), "open3d": (False,)}
    return [Method(name, mode) for name in chosen for mode in modes.get(name, (True, False))]
