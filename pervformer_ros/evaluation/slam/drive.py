# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All methods side by side: each gets every image, and its trajectory in the end."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pervformer_ros.evaluation.slam.carried import sees
from pervformer_ros.evaluation.slam.live import Corrections
from pervformer_ros.evaluation.slam.methods import Method
from pervformer_ros.features import FeatureSet
from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array, Trajectory
from pervformer_ros.slam import SlamBackend, SlamUpdate, TrackingState

if TYPE_CHECKING:
    from pervformer_ros.evaluation.slam.open3d_odometry import Open3dOdometry


@dataclass(slots=True, eq=False)
class Run:
    """One method's way along a recording."""

    method: Method
    backend: SlamBackend | None = None
    milliseconds: list[float] = field(default_factory=list)
    lost: int = 0
    corrections: Corrections = field(default_factory=Corrections)
    online: Trajectory | None = None
    final: Trajectory | None = None

    def step(self, frame: Frame, features: FeatureSet) -> SlamUpdate:
        """Give the back end a frame."""
        assert self.backend is not None
        T_odom_base = frame.T_odom_base if self.method.odometry else None
        started = time.thread_time()  # which other work on the machine disturbs little
        update = self.backend.update(features, frame.camera, frame.T_base_camera, T_odom_base)
        self.milliseconds.append(1e3 * (time.thread_time() - started))
        self.lost += update.state is TrackingState.LOST
        return update


@dataclass(slots=True, eq=False)
class Drive:
    """What all methods have of a recording, or of what comes after time went back in it.

    epoch: how often it went back before. stamps_ns: of the images taken. seeing: of those whose
    camera was uncovered.
    """

    epoch: int
    runs: list[Run]
    baseline: "Open3dOdometry | None"
    stamps_ns: list[int] = field(default_factory=list)
    seeing: list[int] = field(default_factory=list)
    odometry: list[tuple[int, Array]] = field(default_factory=list)

    @classmethod
    def begin(cls, methods: Sequence[Method], epoch: int = 0) -> "Drive":
        """Return methods that have seen nothing yet."""
        baseline = None
        if any(method.name == "open3d" for method in methods):
            from pervformer_ros.evaluation.slam.open3d_odometry import Open3dOdometry

            baseline = Open3dOdometry()
        runs = [Run(method, SlamBackend() if method.uses_back_end else None) for method in methods]
        return cls(epoch, runs, baseline)

    def step(
        self,
        frame: Frame,
        seen: Mapping[tuple[bool, bool, bool], FeatureSet],
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        """Give every method an image, and its features by `Method.kind`.

        now_ns: the recorded clock, where it goes on meanwhile.

        Raises:
            InputError: see SlamBackend.update; the image does not count then.
        """
        for run in self.runs:
            if run.backend is None:
                continue
            update = run.step(frame, seen[run.method.kind])
            if now_ns is not None and run.method.odometry:
                run.corrections.add(frame.stamp_ns, now_ns(), update.T_map_odom)
        if self.baseline is not None:
            self.baseline.step(frame)
        self.stamps_ns.append(frame.stamp_ns)
        if frame.T_odom_base is not None:
            self.odometry.append((frame.stamp_ns, frame.T_odom_base))
        if sees(frame):
            self.seeing.append(frame.stamp_ns)

    def end(self) -> None:
        """Note the trajectory of every run."""
        for run in self.runs:
            if run.backend is not None:
                run.online, run.final = run.backend.online_trajectory(), run.backend.trajectory()
            elif run.method.name == "open3d" and self.baseline is not None:
                run.online = run.final = self.baseline.trajectory()
            else:
                run.online = run.final = self.wheels()

    def wheels(self) -> Trajectory:
        """Return what odometry said of the images taken."""
        return Trajectory.of(self.odometry)
