# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SlamConfig: the few numbers the back end is built from, and where they come from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlamConfig:
    """Noise of the sensors and limits of the work per frame.

    pixel_sigma: standard deviation of a feature's place in the image, pixels.
    depth_sigma: standard deviation of depth z is `depth_sigma * z**2` metres: 1.5e-3 to 3e-3 for
        structured light (Khoshelham and Elberink 2012).
    odometry_translation: error of the path per path, m/m.
    odometry_rotation: error of the turn per turn, rad/rad.
    odometry_heading: error of the heading per path, rad/m.
    odometry_tilt: error of odometry's vertical, radians. Odometry of wheels or with an inertial
        sensor knows it without drift, but for ramps; None for odometry that does not.
    min_similarity: cosine of two descriptors below which they never match.
    max_ratio: a match must be nearer than the second nearest by this factor (Lowe 2004).
    min_inliers: an estimate resting on fewer matches is refused.
    tracked_keyframes: how many keyframes each frame is registered to.
    linked_keyframes: the same of a frame that becomes a keyframe, all in all.
    max_keyframes: so many keyframes remember what they saw, some 300 kB each.
    keyframe_overlap: a view that finds less than this part of its nearest keyframe is new.
    seed: of the random sampling.
    """

    pixel_sigma: float = 0.7
    depth_sigma: float = 0.002
    odometry_translation: float = 0.05
    odometry_rotation: float = 0.05
    odometry_heading: float = 0.02
    odometry_tilt: float | None = 0.02
    min_similarity: float = 0.4
    max_ratio: float = 0.95
    min_inliers: int = 12
    tracked_keyframes: int = 2
    linked_keyframes: int = 4
    max_keyframes: int = 1000
    keyframe_overlap: float = 0.25
    seed: int = 0
