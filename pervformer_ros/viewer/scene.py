# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the line gives for a frame, as rerun's entities. The tree of entities is REP-105's.

map                          the corrected world
  corridors                  strips that are watched
  path/slam, path/odometry   where the robot was: as SLAM said then, as odometry says
  path/slam_final            as SLAM knew in the end
  odom                       placed by SLAM's correction
    objects                  boxes of what is remembered
    base_link
      camera                 image, depth, static_mask, objects, masks, probes, attention
events                       a line of text each
probes/presence              what every probe believes, over time
"""

from collections.abc import Sequence

import cv2
import numpy as np
import rerun as rr
from numpy.typing import NDArray

from pervformer_ros.features import MOVING, STATIC
from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array, Trajectory, quaternion
from pervformer_ros.memory import Corridor, Event, ObjectState, WorldObject, portrait
from pervformer_ros.model import DetectionArrays, ProbeArrays
from pervformer_ros.pipeline import PipelineOutput

CAMERA = "map/odom/base_link/camera"
JPEG_QUALITY = 80
# A path is drawn anew with every so many frames: each time it is written down in full.
PATH_EVERY = 15
SLAM_COLOUR, ODOMETRY_COLOUR = (40, 120, 220), (160, 160, 160)
FINAL_COLOUR, CORRIDOR_COLOUR, PROBE_COLOUR = (220, 40, 200), (230, 200, 40), (200, 90, 230)
MASK_CLASSES = [
    rr.AnnotationInfo(MOVING, "moving", (220, 40, 40, 150)),
    rr.AnnotationInfo(STATIC, "static", (0, 0, 0, 0)),
]


class Scene:
    """Writes frames into a recording, on the timelines `stamp` (exact) and `frame`."""

    def __init__(self, stream: rr.RecordingStream, corridors: Sequence[Corridor] = ()):
        """Take where to write to, and what is watched, in map."""
        self._stream, self._frames = stream, 0
        self._slam: list[Array] = []
        self._odometry: list[Array] = []
        self._log_static(corridors)

    def hear(self, frame: Frame, output: PipelineOutput) -> None:
        """Write down a frame and what the line gave for it."""
        self._stream.set_time("stamp", timestamp=np.datetime64(output.stamp_ns, "ns"))
        self._stream.set_time("frame", sequence=self._frames)
        self._log_poses(frame, output)
        self._log_images(frame, output)
        self._log_objects(output.objects)
        self._log_masks(output)
        self._log_probes(output.percept.probes, output.static_mask.shape)
        for event in output.events:
            self._log_event(event)
        self._frames += 1

    def finish(self, slam: Trajectory | None) -> None:
        """Write down where the robot was, by all that was known in the end."""
        self._log_paths()
        if slam is not None:
            points = slam.poses[:, :3, 3]
            strip = rr.LineStrips3D([points], colors=FINAL_COLOUR, labels=["SLAM, final"])
            self._stream.log("map/path/slam_final", strip)

    # What the entities are ------------------------------------------------------------------

    def _log_static(self, corridors: Sequence[Corridor]) -> None:
        log = self._stream.log
        log("map", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        log(f"{CAMERA}/static_mask", rr.AnnotationContext(MASK_CLASSES), static=True)
        if corridors:
            lines = [np.pad(c.centre_line, ((0, 0), (0, 1))) for c in corridors]
            widths, names = [c.half_width for c in corridors], [c.name for c in corridors]
            strips = rr.LineStrips3D(lines, radii=widths, labels=names, colors=CORRIDOR_COLOUR)
            log("map/corridors", strips, static=True)

    def _log_poses(self, frame: Frame, output: PipelineOutput) -> None:
        self._stream.log("map/odom/base_link", _transform(output.T_odom_base))
        if frame.T_odom_base is not None:
            self._odometry.append(frame.T_odom_base[:3, 3])
        if output.slam is not None:
            self._stream.log("map/odom", _transform(output.slam.T_map_odom))
            self._slam.append(output.slam.T_map_base[:3, 3])
        if self._frames % PATH_EVERY == 0:
            self._log_paths()

    def _log_paths(self) -> None:
        paths = (
            ("slam", self._slam, SLAM_COLOUR),
            ("odometry", self._odometry, ODOMETRY_COLOUR),
        )
        for name, points, colour in paths:
            if points:
                strip = rr.LineStrips3D([np.array(points)], colors=colour, labels=[name])
                self._stream.log(f"map/path/{name}", strip)

    def _log_images(self, frame: Frame, output: PipelineOutput) -> None:
        log, camera = self._stream.log, frame.camera
        log(CAMERA, _transform(frame.T_base_camera))
        lens = rr.Pinhole(
            image_from_camera=camera.K,
            resolution=[camera.width, camera.height],
            camera_xyz=rr.ViewCoordinates.RDF,
        )
        log(CAMERA, lens)
        log(f"{CAMERA}/image", rr.Image(frame.rgb).compress(jpeg_quality=JPEG_QUALITY))
        if frame.depth is not None:
            log(f"{CAMERA}/depth", rr.DepthImage(frame.depth, meter=1.0))
        log(f"{CAMERA}/static_mask", rr.SegmentationImage(output.static_mask))

    def _log_objects(self, objects: Sequence[WorldObject]) -> None:
        halves = np.array([o.size for o in objects]).reshape(-1, 3) / 2
        turns = [rr.RotationAxisAngle((0, 0, 1), radians=o.heading) for o in objects]
        boxes = rr.Boxes3D(
            centers=np.array([o.position for o in objects]).reshape(-1, 3),
            half_sizes=halves,
            rotation_axis_angles=turns,
            colors=[portrait.colour_of(o) for o in objects],
            labels=[f"{portrait.caption(o)} {o.state.name.lower()}" for o in objects],
        )
        self._stream.log("map/odom/objects", boxes)
        seen = [o for o in objects if o.state is ObjectState.VISIBLE]
        corners = np.array([o.box for o in seen], float).reshape(-1, 4)
        rectangles = rr.Boxes2D(
            array=corners,
            array_format=rr.Box2DFormat.XYWH,
            colors=[portrait.colour_of(o) for o in seen],
            labels=[f"{portrait.caption(o)} {o.score:.2f}" for o in seen],
        )
        self._stream.log(f"{CAMERA}/objects", rectangles)

    def _log_masks(self, output: PipelineOutput) -> None:
        painted = paint(output.percept.detections, output.objects, output.static_mask.shape)
        self._stream.log(f"{CAMERA}/masks", rr.SegmentationImage(painted))

    def _log_probes(self, probes: ProbeArrays, shape: tuple[int, ...]) -> None:
        """Log where probes believe their objects to be, and where they look."""
        alive = np.flatnonzero(probes.alive)
        rectangles = rr.Boxes2D(
            array=probes.box[alive],
            array_format=rr.Box2DFormat.XYXY,
            colors=PROBE_COLOUR,
            labels=[f"probe {i} {probes.presence[i]:.2f}" for i in alive],
        )
        self._stream.log(f"{CAMERA}/probes", rectangles)
        picture = rr.Image(attention(probes, shape), opacity=0.6)
        self._stream.log(f"{CAMERA}/attention", picture)
        held = np.where(probes.alive, probes.presence, 0.0)
        self._stream.log("probes/presence", rr.Scalars(held))

    def _log_event(self, event: Event) -> None:
        line = f"{portrait.sentence(event)} ({event.confidence:.2f})"
        self._stream.log("events", rr.TextLog(line, level=rr.TextLogLevel.INFO))


def attention(probes: ProbeArrays, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a picture (H, W) of where living probes look: 255 where one looks most."""
    looks = probes.attention[probes.alive]
    if not len(looks):
        return np.zeros(shape, np.uint8)
    strongest = (looks / looks.max(axis=(1, 2), keepdims=True)).max(axis=0)
    enlarged = cv2.resize(strongest, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.rint(255 * enlarged).astype(np.uint8)


def paint(
    detections: DetectionArrays, objects: Sequence[WorldObject], shape: tuple[int, ...]
) -> NDArray[np.uint16]:
    """Return a picture (H, W) of object ids, 0 where no published object is; the best on top."""
    picture = np.zeros(shape, np.uint16)
    corners = detections.box
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    for thing in objects:
        if thing.state is not ObjectState.VISIBLE or not len(boxes):
            continue
        # An object in view has the box of its detection, to the digit.
        own = np.flatnonzero(np.isclose(boxes, thing.box, atol=1e-3).all(axis=1))
        if len(own):
            picture[detections.mask[own[0]]] = thing.id % 2**16
    return picture


def _transform(T: Array) -> rr.Transform3D:
    return rr.Transform3D(translation=T[:3, 3], quaternion=rr.Quaternion(xyzw=quaternion(T)))
