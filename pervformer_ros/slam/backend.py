# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SlamBackend: features and odometry in, the robot's corrected pose out, frame by frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.features import FeatureSet
from pervformer_ros.frame import CameraModel, Fault, InputError
from pervformer_ros.geometry import Array, Trajectory, invert
from pervformer_ros.slam import se3
from pervformer_ros.slam.abduction import AbductionWatch
from pervformer_ros.slam.calibration import MAX_PATH, OdometryCalibration
from pervformer_ros.slam.config import SlamConfig
from pervformer_ros.slam.factors import Edge, EdgeKind
from pervformer_ros.slam.graph import GraphOptimiser, PoseGraph
from pervformer_ros.slam.history import History
from pervformer_ros.slam.keyframe import (
    APART,
    MIN_OVERLAP,
    Keyframe,
    KeyframeMap,
    make_keyframe,
)
from pervformer_ros.slam.loops import Candidate, LoopVerifier
from pervformer_ros.slam.matches import STILL
from pervformer_ros.slam.motion import MotionModel, PoseEstimate
from pervformer_ros.slam.odometry import Odometer, OdometryNoise, Reading, link
from pervformer_ros.slam.places import alike
from pervformer_ros.slam.saved_map import MapError, SavedMap
from pervformer_ros.slam.tracking import Attempt, Fix, Tracker, can_be_at, fuse, slipped
from pervformer_ros.slam.view import View, make_view

# After so many frames in a row without sight or odometry, what is seen starts a new piece of map.
LOST_PATIENCE = 3
START_SIGMA = 1e-3
# A view is new when the camera has moved by this part of the distance it looks at, or has turned by
# this angle (radians).
KEYFRAME_STEP = 0.15
KEYFRAME_TURN = 0.25
# A keyframe must offer so many times the features that a fix needs.
KEYFRAME_FEATURES = 2
# Tracking that rests on fewer than so many times the matches it needs is about to be lost.
KEYFRAME_INLIERS = 4
# But not before it has gone or turned this part of what makes any view new.
KEYFRAME_LEAST = 0.2
# So many keyframes are tried for a loop closure; it rests on so many matches, and on such a part of
# the points that should be seen from there: what few of them agree on is a thing, not the place.
LOOP_CANDIDATES, LOOP_INLIERS, LOOP_SHARE = 3, 25, 0.15
# How a robot that sees nothing may have gone and turned, per second; and where one may be that was
# carried off, or woke up in a saved map: radians, metres.
GAP_ROTATION, GAP_POSITION = 0.5, 1.0
# What was in view before so short a gap (seconds) may be recognised at once, as near (metres) as it
# can be by then: bays of racks, which look alike, are farther apart.
SHORT_GAP_S, GAP_REACH = 1.5, 0.3
ANYWHERE_ROTATION, ANYWHERE_POSITION = 2.0, 1000.0


class TrackingState(str, Enum):
    """What the pose of a frame rests on."""

    VISUAL = "visual"  # the map was recognised, or just started, in this frame
    ODOMETRY = "odometry"  # odometry alone
    LOST = "lost"  # neither: the pose is a guess


@dataclass(frozen=True, slots=True)
class Gap:
    """A short while in which nothing was recognised, without odometry.

    left, first: the keyframe that was in view before, and the first one after.
    reach: how far the robot may be from where it seems to be, metres.
    """

    left: int
    first: int
    reach: float


@dataclass(frozen=True, slots=True, eq=False)
class SlamUpdate:
    """What one frame came to.

    T_map_base: (4, 4) the pose from this frame and those before it.
    covariance: (6, 6) of T_map_base as in ROS: x, y, z, then rotation about them, in map axes. It
        holds how far the map has drifted since its first keyframe.
    T_map_odom: (4, 4) what corrects odometry; the last known where odometry has a gap.
    is_keyframe: whether the frame was kept in the map.
    inliers, matched: of the keyframe that the frame agrees with best.
    warnings: what was wrong, in words.
    """

    stamp_ns: int
    T_map_base: Array
    covariance: Array
    T_map_odom: Array
    is_keyframe: bool
    inliers: int
    matched: int
    state: TrackingState
    warnings: tuple[str, ...] = ()

    @property
    def is_lost(self) -> bool:
        """Whether the pose is a guess."""
        return self.state is TrackingState.LOST


class SlamBackend:
    """Corrects odometry by what the camera recognises; works with either alone.

    Every frame is registered to a few keyframes, and the result is fused with the pose that
    odometry predicts. Views that show something new become keyframes of a pose graph.
    """

    def __init__(self, config: SlamConfig | None = None, keeps_history: bool = True) -> None:
        """Begin with an empty map.

        Args:
            config: noise and limits.
            keeps_history: whether every frame is remembered, some 0.4 kB each, for `trajectory` and
                `online_trajectory`; else these are empty.
        """
        self.config = config or SlamConfig()
        self._keeps_history = keeps_history
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a jump back in time."""
        prior = OdometryNoise(
            self.config.odometry_translation,
            self.config.odometry_rotation,
            self.config.odometry_heading,
        )
        self._calibration = OdometryCalibration(prior)
        self._odometer = Odometer(self._calibration.correct)
        self._motion = MotionModel(self._calibration)
        self._tracker = Tracker(self.config, self._calibration)
        self._keyframes = KeyframeMap(self.config.max_keyframes)
        self._reference = 0  # the keyframe that the last view agreed with best
        self._loops = LoopVerifier()
        self._abduction = AbductionWatch()
        self._carried_off = False
        self._anywhere = False  # no keyframe yet since it was carried off
        self._gap: Gap | None = None  # the last one, until what is beyond it is recognised
        self._recognised_ns: int | None = None
        self._known_ns: int | None = None  # when it was last not lost
        self._graph = GraphOptimiser()
        self._history = History()
        self._T_map_odom = np.eye(4)
        self._map_is_level = False
        self._stamp_ns: int | None = None
        self._frames_lost = 0
        self._resumed = 0  # so many keyframes came with a saved map

    def update(
        self,
        features: FeatureSet,
        camera: CameraModel,
        T_base_camera: Array,
        T_odom_base: Array | None,
    ) -> SlamUpdate:
        """Take in one frame and return its pose.

        Args:
            features: what perception saw.
            camera: the camera it saw it with; it may differ from frame to frame.
            T_base_camera: (4, 4) pose of its optical frame in base_link.
            T_odom_base: (4, 4) pose of base_link in odom, or None where there is no odometry.

        Raises:
            InputError: TIME_JUMP_BACK, SIZE_MISMATCH or INVALID_ODOMETRY; nothing has changed then.
            ValueError: if the descriptors are of another kind than the map's.
        """
        # Refuse what cannot be used.
        self._check(features, camera, T_odom_base)
        # Predict the pose from odometry, or else from the last velocity.
        carried_off, self._carried_off = self._carried_off, False
        if carried_off:
            self._odometer.part()
            self._anywhere = True
        reading = self._odometer.read(features.stamp_ns, T_odom_base)
        prediction = self._predict(features.stamp_ns, reading)
        # Register the view to the keyframes it should overlap.
        view = make_view(features, camera, T_base_camera, reading)
        attempts = self._register(view, prediction, self._candidates())
        fixes = self._believed(attempts, view)
        # Ask whether the wheels have slipped where it is not recognised.
        if not fixes and self._odometer.twitched and (slip := self._find_slip(view, prediction)):
            fixes, prediction, reading = [slip], slipped(prediction), self._odometer.cut()
            view = replace(view, reading=reading)
        # Fuse what they tell with the prediction.
        tracked = fuse(prediction, fixes, self._keyframes)
        state = self._judge(view, fixes)
        self._motion.observe(view.stamp_ns, reading, tracked, seen=bool(fixes))
        if fixes:
            self._reference = max(fixes, key=lambda fix: fix.inliers).keyframe
        back = self._look_back(view, tracked) if fixes and self._can_be_kept(view) else None
        # Keep the view as a keyframe if it shows something new, and let the map settle.
        self._carried_off = self._abduction.observe(view, bool(fixes))
        is_keyframe = (
            back is not None
            or self._is_worth_keeping(view, attempts, tracked, state)
            or (carried_off and self._can_be_kept(view))
        )
        T_map_base = tracked.T_map_base
        if is_keyframe:
            T_map_base = self._add_keyframe(view, fixes, tracked, back)
            self._motion.carry_along(T_map_base @ invert(tracked.T_map_base))
        # Remember the frame for the trajectory.
        if self._keeps_history:
            self._history.add(view.stamp_ns, tracked.T_map_base, T_map_base, is_keyframe)
        self._stamp_ns = view.stamp_ns
        if state == TrackingState.VISUAL:
            self._recognised_ns = view.stamp_ns
        lost = state == TrackingState.LOST and not is_keyframe
        self._frames_lost = self._frames_lost + 1 if lost else 0
        if not lost:
            self._known_ns = view.stamp_ns
        if T_odom_base is not None:
            self._T_map_odom = T_map_base @ invert(T_odom_base)
        drift = self._drift()
        covariance = tracked.covariance + drift
        if self._known_ns is not None:
            covariance = covariance + _strayed((view.stamp_ns - self._known_ns) * 1e-9)
        return SlamUpdate(
            stamp_ns=features.stamp_ns,
            T_map_base=T_map_base,
            covariance=se3.in_fixed_axes(covariance, T_map_base),
            T_map_odom=self._T_map_odom,
            is_keyframe=is_keyframe,
            inliers=max((fix.inliers for fix in fixes), default=0),
            matched=max((attempt.matched for attempt in attempts), default=0),
            state=state,
            warnings=self._warnings(attempts, drift),
        )

    def trajectory(self) -> Trajectory:
        """Return T_map_base of every frame by all that is known now."""
        return self._history.corrected(self._keyframes.poses[self._resumed :])

    def online_trajectory(self) -> Trajectory:
        """Return T_map_base of every frame as `update` returned it."""
        return self._history.online()

    def graph(self) -> PoseGraph:
        """Return the pose graph of the keyframes."""
        return self._graph.snapshot()

    def snapshot_map(self) -> SavedMap:
        """Return the map as it is now, to be written to a file."""
        keyframes = [replace(k, reading=None) for k in self._keyframes]
        return SavedMap(keyframes, self._graph.snapshot(), self._map_is_level)

    def save_map(self, path: Path) -> None:
        """Write the map to a file, to be resumed on another day.

        Raises:
            MapError: if it is empty, or the place cannot be written to.
        """
        self.snapshot_map().write(path)

    def resume_map(self, path: Path) -> SavedMap:
        """Begin anew in the map of a file, and return that map; see `resume`.

        Raises:
            MapError: if the file is missing, damaged or of another version.
        """
        saved = SavedMap.read(path)
        self.resume(saved)
        return saved

    def resume(self, saved: SavedMap) -> None:
        """Begin anew in a map.

        Where the robot is in it nobody knows: until a place is recognised, a new piece of map grows
        from where odometry starts. On an error nothing changes.

        Raises:
            MapError: if it cannot be solved.
        """
        try:
            graph = GraphOptimiser.resume(saved.graph)
        except RuntimeError as error:
            raise MapError("the map cannot be solved: load another one") from error
        self.reset()
        self._graph = graph
        self._resumed = len(saved.keyframes)
        self._reference = self._resumed - 1
        poses = self._graph.snapshot().poses
        self._keyframes.restore(saved.keyframes, poses, self._graph.drift_from(self._reference))
        self._map_is_level = saved.is_level
        self._carried_off = True

    @property
    def keyframes(self) -> int:
        """How many keyframes the map has."""
        return len(self._keyframes)

    @property
    def loop_closures(self) -> int:
        """How many times a place was recognised."""
        return sum(edge.kind == EdgeKind.LOOP for edge in self._graph.edges)

    def _check(self, features: FeatureSet, camera: CameraModel, T_odom_base: Array | None) -> None:
        if self._stamp_ns is not None and features.stamp_ns <= self._stamp_ns:
            raise InputError(
                Fault.TIME_JUMP_BACK,
                f"stamp {features.stamp_ns} ns follows {self._stamp_ns} ns: feed frames in order, "
                "and call reset() if the recording starts anew",
            )
        if (features.width, features.height) != (camera.width, camera.height):
            raise InputError(
                Fault.SIZE_MISMATCH,
                f"features are of a {features.width}x{features.height} image but the camera model "
                f"is for {camera.width}x{camera.height}: pass the camera model of this image",
            )
        if T_odom_base is not None and not np.isfinite(T_odom_base).all():
            raise InputError(
                Fault.INVALID_ODOMETRY, "odometry holds NaN or infinity: pass None where it is lost"
            )
        if not len(self._keyframes):
            return
        if len(features):
            ours = self._keyframes[-1].descriptors.shape[1]
            _refuse_others("descriptors", features.descriptors.shape[1], ours)
        if theirs := len(features.place_descriptor):
            sizes = (len(keyframe.place_descriptor) for keyframe in reversed(self._keyframes))
            _refuse_others("place descriptors", theirs, next(filter(None, sizes), 0))

    def _predict(self, stamp_ns: int, reading: Reading | None) -> PoseEstimate:
        if self._motion.started:
            return self._motion.predict(stamp_ns, reading)
        # The map starts where odometry does, so that map and odom agree until it drifts.
        if not self._resumed:
            self._map_is_level = reading is not None
        T_map_base = np.eye(4) if reading is None else reading.T_odom_base
        return PoseEstimate(T_map_base, se3.isotropic(START_SIGMA, START_SIGMA))

    def _candidates(self) -> int:
        # A frame that follows a lost one has more to search and nothing to lose.
        lost = self._frames_lost > 0
        return self.config.linked_keyframes if lost else self.config.tracked_keyframes

    def _register(
        self, view: View, prediction: PoseEstimate, count: int, done: Sequence[Fix] = ()
    ) -> list[Attempt]:
        """Register the view to at most `count` keyframes, but for those already `done`."""
        if not len(self._keyframes):
            return []
        T_map_camera = prediction.T_map_base @ view.T_base_camera
        tied = self._keyframes.is_tied
        for id in {self._reference, *(fix.keyframe for fix in done)}:
            tied[id] = False
        others = self._keyframes.overlapping(T_map_camera, view.camera, count, tied)
        if not done:
            others = [self._keyframes[self._reference], *others[: count - 1]]
        return [self._track(view, keyframe, prediction) for keyframe in others]

    def _track(self, view: View, keyframe: Keyframe, prediction: PoseEstimate) -> Attempt:
        """Register the view to one keyframe, whose place is not better known than its drift."""
        unsure = self._unsure(prediction, keyframe)
        return self._tracker.track(view, keyframe, self._keyframes.poses[keyframe.id], unsure)

    def _unsure(self, prediction: PoseEstimate, keyframe: Keyframe) -> PoseEstimate:
        """Return a prediction of the pose against a keyframe that the map has drifted from."""
        drift = self._keyframes.drift_of(keyframe.id)
        return PoseEstimate(prediction.T_map_base, prediction.covariance + drift)

    def _believed(self, attempts: Sequence[Attempt], view: View) -> list[Fix]:
        """Return the fixes; where it may be anywhere, a few points do not suffice for one."""
        fixes = [attempt.fix for attempt in attempts if attempt.fix]
        astray = self._frames_lost > 0 and view.reading is None
        if self._abduction.was_blind or self._anywhere or astray:
            return [fix for fix in fixes if self._shows_place(fix, view)]
        return fixes

    def _find_slip(self, view: View, prediction: PoseEstimate) -> Fix | None:
        if not len(self._keyframes):
            return None
        keyframe = self._keyframes[self._reference]
        unsure = self._unsure(prediction, keyframe)
        return self._tracker.find_slip(view, keyframe, self._keyframes.poses[keyframe.id], unsure)

    def _judge(self, view: View, fixes: Sequence[Fix]) -> TrackingState:
        if fixes or (len(self._keyframes) == 0 and self._can_be_kept(view)):
            return TrackingState.VISUAL
        return TrackingState.LOST if view.reading is None else TrackingState.ODOMETRY

    def _can_be_kept(self, view: View) -> bool:
        still = view.has_point & (view.static_probability > STILL)
        return bool(still.sum() >= KEYFRAME_FEATURES * self.config.min_inliers)

    def _is_worth_keeping(
        self,
        view: View,
        attempts: Sequence[Attempt],
        tracked: PoseEstimate,
        state: TrackingState,
    ) -> bool:
        if len(self._keyframes) == 0 or not self._can_be_kept(view):
            return self._can_be_kept(view)
        if state == TrackingState.LOST:
            return self._frames_lost >= LOST_PATIENCE
        if self._carried_off or self._abduction.suspects:
            return False
        fixes = [attempt.fix for attempt in attempts if attempt.fix]
        if not fixes and any(attempt.refused for attempt in attempts):
            # What is seen contradicts odometry: something moves, or the wheels slip. A keyframe
            # from here would confirm whichever of the two is wrong.
            return False
        best = max(fixes, key=lambda fix: fix.inliers, default=None)
        nearest = self._keyframes[best.keyframe if best else self._reference]
        enough = max(
            self.config.keyframe_overlap * len(nearest), KEYFRAME_INLIERS * self.config.min_inliers
        )
        # Where the room is hidden a view may agree best with a keyframe from farther away, and yet
        # be from where the newest is.
        gone = min(self._gone(keyframe, tracked) for keyframe in (nearest, self._keyframes[-1]))
        few = best is not None and best.inliers < enough
        return gone > (KEYFRAME_LEAST if few else 1.0)

    def _gone(self, keyframe: Keyframe, tracked: PoseEstimate) -> float:
        """Return how far a pose is from a keyframe, as a part of what makes any view new."""
        T_keyframe_base = invert(self._keyframes.poses[keyframe.id]) @ tracked.T_map_base
        step = float(np.linalg.norm(T_keyframe_base[:3, 3]))
        return max(
            step / (KEYFRAME_STEP * keyframe.looking_distance),
            se3.rotation_angle(T_keyframe_base) / KEYFRAME_TURN,
        )

    def _look_back(self, view: View, tracked: PoseEstimate) -> Fix | None:
        """Return what was in view before the last gap, if that is seen again."""
        gap = self._gap
        if gap is None or not self._keyframes.remembers[gap.left]:
            return None
        T_map_camera = tracked.T_map_base @ view.T_base_camera
        if self._keyframes.overlap(gap.left, T_map_camera, view.camera) < MIN_OVERLAP:
            return None
        fix = self._track(view, self._keyframes[gap.left], tracked).fix
        if fix is None or fix.standing < LOOP_INLIERS:
            return None
        T_map_base = self._keyframes.poses[gap.left] @ fix.T_keyframe_base
        offset = float(np.linalg.norm(T_map_base[:3, 3] - tracked.T_map_base[:3, 3]))
        return fix if offset < gap.reach else None

    def _add_keyframe(
        self, view: View, fixes: Sequence[Fix], tracked: PoseEstimate, back: Fix | None
    ) -> Array:
        """Add the view to the map and the graph; return its pose there.

        `back` says where it is by what was seen before the last gap.
        """
        more_keyframes = max(0, self.config.linked_keyframes - len(fixes))
        attempts = self._register(view, tracked, more_keyframes, fixes)
        more = self._believed(attempts, view)
        edges = self._edges(view, [*fixes, *more], tracked)
        self._note_gap(view, edges)
        self._anywhere = False
        new = make_keyframe(len(self._keyframes), view)
        self._learn(new, [*fixes, *more])
        poses = self._graph.add(view.stamp_ns, tracked.T_map_base, edges, *self._vertical(view))
        self._keyframes.add(new, poses, self._graph.drift_from(new.id))
        self._reference = new.id
        candidates = [*self._loop_candidates(view, tracked), *self._places(view)]
        loops = self._loops.add(candidates, self._keyframes.poses)
        if loops:
            self._close(loops, self._joined(loops[-1]))
        if back is not None and self._gap is not None:
            loop = self._candidate(back).edge
            since = np.arange(len(self._keyframes)) >= self._gap.first
            self._close([loop], self._moved(loop, since))
            self._gap = None
        return np.asarray(self._keyframes.poses[-1])

    def _close(self, loops: Sequence[Edge], poses: Array | None) -> None:
        """Close loops with the newest keyframe; `poses` is a better first guess, or None."""
        poses = self._graph.close(loops, poses)
        self._keyframes.move(poses, self._graph.drift_from(len(self._keyframes) - 1))

    def _note_gap(self, view: View, edges: Sequence[Edge]) -> None:
        """Note whether a new keyframe is tied to the others by a guess alone, but a good one."""
        if not edges or edges[-1].kind is not EdgeKind.GAP:
            return
        seconds = self._unrecognised_s(view)
        reach = GAP_REACH + GAP_POSITION * seconds
        short = seconds <= SHORT_GAP_S and not self._anywhere
        self._gap = Gap(self._reference, len(self._keyframes), reach) if short else None

    def _unrecognised_s(self, view: View) -> float:
        if self._recognised_ns is None:
            return float(np.inf)
        return (view.stamp_ns - self._recognised_ns) * 1e-9

    def _learn(self, new: Keyframe, fixes: Sequence[Fix]) -> None:
        """Compare odometry with the longest way since another keyframe that was also seen."""
        ways = [(link(self._keyframes[fix.keyframe].reading, new.reading), fix) for fix in fixes]
        known = [(way, fix) for way, fix in ways if way is not None and way.path < MAX_PATH]
        if known:
            way, fix = max(known, key=lambda pair: pair[0].path)
            self._calibration.observe(way, fix.T_keyframe_base, fix.covariance)

    def _loop_candidates(self, view: View, tracked: PoseEstimate) -> list[Candidate]:
        """Return closures of the newest keyframe with those that the way to has drifted from."""
        # The newest keyframe may have been moved by the graph since it was tracked.
        here = PoseEstimate(self._keyframes.poses[-1], tracked.covariance)
        T_map_camera = here.T_map_base @ view.T_base_camera
        loose = ~self._keyframes.is_tied & ~self._keyframes.is_apart
        found = []
        for keyframe in self._keyframes.overlapping(
            T_map_camera, view.camera, LOOP_CANDIDATES, loose
        ):
            fix = self._track(view, keyframe, here).fix
            if fix is not None and self._shows_place(fix, view):
                found.append(self._candidate(fix))
        return found

    def _places(self, view: View) -> list[Candidate]:
        """Return closures of the newest keyframe with the pieces of map it is not joined to."""
        known = self._keyframes.is_apart & self._keyframes.remembers
        apart = [self._keyframes[int(i)] for i in np.flatnonzero(known)]
        found = []
        for keyframe in alike(view, apart, LOOP_CANDIDATES):
            fix = self._tracker.recognise(view, keyframe).fix
            if fix is None or not self._shows_place(fix, view):
                continue
            here = PoseEstimate(self._keyframes.poses[-1], self._keyframes.drift_of(keyframe.id))
            if can_be_at(fix, self._keyframes.poses[keyframe.id], here):
                found.append(self._candidate(fix))
        return found

    def _shows_place(self, fix: Fix, view: View) -> bool:
        """Return whether so much of a keyframe was found again that it must be the same place."""
        if fix.standing < LOOP_INLIERS:
            return False
        T_map_base = self._keyframes.poses[fix.keyframe] @ fix.T_keyframe_base
        T_map_camera = T_map_base @ view.T_base_camera
        overlap = self._keyframes.overlap(fix.keyframe, T_map_camera, view.camera)
        return fix.inliers >= LOOP_SHARE * overlap * len(self._keyframes[fix.keyframe])

    def _candidate(self, fix: Fix) -> Candidate:
        """Return the closure that ties the newest keyframe as a fix says."""
        new = len(self._keyframes) - 1
        edge = Edge(fix.keyframe, new, EdgeKind.LOOP, fix.T_keyframe_base, fix.covariance)
        return Candidate(edge, fix.inliers)

    def _joined(self, loop: Edge) -> Array | None:
        """Return all poses with the newest piece of map moved to where the loop says it is.

        None where the loop lies within one piece.
        """
        apart = self._keyframes.is_apart
        return self._moved(loop, ~apart) if apart[loop.first] else None

    def _moved(self, loop: Edge, piece: NDArray[np.bool_]) -> Array:
        """Return all poses with a piece of map moved to where the loop says it is."""
        poses = self._keyframes.poses.copy()
        T_moved = poses[loop.first] @ loop.T_first_second @ invert(poses[loop.second])
        poses[piece] = T_moved @ poses[piece]
        return np.asarray(poses)

    def _vertical(self, view: View) -> tuple[Array | None, float]:
        """Return the map's vertical in base and its error, None where nothing tells it."""
        if view.reading is None or self._tilt is None:
            return None, 0.0
        return view.reading.up, self._tilt

    @property
    def _tilt(self) -> float | None:
        """How exactly odometry's z is the map's, radians; None where it need not be."""
        return self.config.odometry_tilt if self._map_is_level else None

    def _edges(self, view: View, fixes: Sequence[Fix], tracked: PoseEstimate) -> list[Edge]:
        """Return what holds a new keyframe to the others; nothing for the first."""
        new = len(self._keyframes)
        if new == 0:
            return []
        edges = [
            Edge(fix.keyframe, new, EdgeKind.VISUAL, fix.T_keyframe_base, fix.covariance)
            for fix in fixes
        ]
        way = link(self._keyframes[-1].reading, view.reading)
        if way:
            covariance = self._calibration.noise.of_chained(way)
            edges.append(Edge(new - 1, new, EdgeKind.ODOMETRY, way.T_first_second, covariance))
        if way and self._tilt is not None:
            level = self._calibration.noise.of_level(way)
            edges.append(Edge(new - 1, new, EdgeKind.LEVEL, way.T_first_second, level))
        if not edges:
            T_last_base = invert(self._keyframes.poses[-1]) @ tracked.T_map_base
            seconds = np.inf if self._anywhere else self._unrecognised_s(view)
            covariance = tracked.covariance + _strayed(seconds)
            edges.append(Edge(new - 1, new, EdgeKind.GAP, T_last_base, covariance))
        return edges

    def _drift(self) -> Array:
        """Return the covariance (6, 6) of where the newest keyframe lies in the map."""
        if self._anywhere:
            return se3.isotropic(ANYWHERE_ROTATION, ANYWHERE_POSITION)
        return self._keyframes.drift_of(0) if len(self._keyframes) else np.zeros((6, 6))

    def _warnings(self, attempts: Sequence[Attempt], drift: Array) -> tuple[str, ...]:
        warnings = []
        sigma = float(np.sqrt(drift[5, 5]))
        if sigma > APART:
            warnings.append(f"known to {sigma:.0f} m only, until it recognises a place of the map")
        if self._odometer.jumped:
            warnings.append("odometry jumped: what it says from here on is not linked to before")
        refused = sum(attempt.refused for attempt in attempts)
        if refused:
            warnings.append(f"{refused} groups of matches put the robot where it cannot have gone")
        return tuple(warnings)


def _refuse_others(what: str, theirs: int, ours: int) -> None:
    """Refuse features of another length than the map's, 0 = it has none (InputError)."""
    if ours and theirs != ours:
        raise InputError(
            Fault.WRONG_FEATURES,
            f"{what} have {theirs} numbers but those of the map have {ours}: use the kind of "
            "features and the model that it was made with, or begin a new one",
        )


def _strayed(seconds: float) -> Array:
    """Return the covariance (6, 6) of where a robot may be that knew nothing for so long."""
    rotation = min(GAP_ROTATION * seconds, ANYWHERE_ROTATION)
    position = min(GAP_POSITION * seconds, ANYWHERE_POSITION)
    return se3.isotropic(rotation, position)
