# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The SLAM node: features and odometry in; a corrected pose, path and graph out."""

import threading
import time
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point, PoseStamped, TransformStamped
from nav_msgs.msg import Odometry, Path
from pervformer_msgs.msg import FeatureArray
from pervformer_msgs.srv import LoadMemory, SaveMemory
from rclpy.clock import Clock, ClockType
from std_msgs.msg import ColorRGBA
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from pervformer_ros.bags.intake import MessageBundle
from pervformer_ros.frame import NANOSECONDS, Fault, InputError
from pervformer_ros.geometry import Array
from pervformer_ros.nodes import conversions, parameters
from pervformer_ros.nodes.diagnostics import OK, STALE, WARN, bad_input, status
from pervformer_ros.nodes.lifecycle import NEWEST_LATCHED, SENSOR_DATA, StreamNode, run
from pervformer_ros.slam import (
    EdgeKind,
    MapError,
    PoseGraph,
    SavedMap,
    SlamBackend,
    SlamUpdate,
    TrackingState,
)

EDGE_COLOURS = {
    EdgeKind.ODOMETRY: ColorRGBA(r=0.6, g=0.6, b=0.6, a=1.0),
    EdgeKind.VISUAL: ColorRGBA(r=0.1, g=0.6, b=0.9, a=1.0),
    EdgeKind.LOOP: ColorRGBA(r=0.9, g=0.2, b=0.2, a=1.0),
    EdgeKind.GAP: ColorRGBA(r=0.9, g=0.7, b=0.1, a=1.0),
    EdgeKind.LEVEL: ColorRGBA(r=0.6, g=0.6, b=0.6, a=1.0),
}
KEYFRAME_COLOUR = ColorRGBA(r=0.1, g=0.8, b=0.3, a=1.0)
# Seconds between two looks at whether the map has changed; and what it takes to publish a large one
# may be this part of the time.
MAP_PERIOD_S, MAP_SHARE = 1.0, 0.05
# Stamps of map -> odom are so far apart at least, nanoseconds.
TF_STEP_NS = 20_000_000


class SlamNode(StreamNode):
    """Runs the back end on the features of the perception node."""

    specs = parameters.SLAM

    def __init__(self, **node_options: Any):
        super().__init__("slam", **node_options)
        # The worker steps the back end; services save and replace its map.
        self._line = threading.Lock()

    def open(self, given: dict[str, Any]) -> None:
        """Create the back end, the publishers and services."""
        self.backend = SlamBackend(keeps_history=False)
        self._map: SavedMap | None = None
        if given["map_file"]:
            self._load(FilePath(given["map_file"]))
        else:
            self._begin()
        self._map_services = [
            self.create_service(SaveMemory, "~/save_map", self._on_save_map),
            self.create_service(LoadMemory, "~/load_map", self._on_load_map),
        ]
        self._odometry = self.create_lifecycle_publisher(Odometry, "slam/odometry", 10)
        self._path = self.create_lifecycle_publisher(Path, "slam/path", NEWEST_LATCHED)
        self._graph = self.create_lifecycle_publisher(MarkerArray, "slam/graph", NEWEST_LATCHED)
        self._tf = self.create_lifecycle_publisher(TFMessage, "/tf", 100)
        self._frames = 0
        self._news: list[Any] = []  # publishers of what has changed since they said it
        self._map_due_s = 0.0
        self._map_timer = self.create_timer(
            MAP_PERIOD_S, self._publish_map, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def _begin(self) -> None:
        """Begin anew, in the saved map if there is one."""
        if self._map is not None:
            self.backend.resume(self._map)
        else:
            self.backend.reset()
        self._forget_frames()

    def _load(self, path: FilePath) -> None:
        """Begin in the map of a file, and keep that map; on an error nothing changes."""
        self._map = self.backend.resume_map(path)
        self._forget_frames()

    def _forget_frames(self) -> None:
        self._last: SlamUpdate | None = None
        self._tf_ns: int | None = None

    def close(self) -> None:
        """Let go of the back end, the publishers and services."""
        self.destroy_timer(self._map_timer)
        for service in self._map_services:
            self.destroy_service(service)
        for publisher in (self._odometry, self._path, self._graph, self._tf):
            self.destroy_lifecycle_publisher(publisher)
        del self.backend

    def subscribe(self, given: dict[str, Any]) -> list[Any]:
        """Subscribe to features."""
        on_features = self.offering(self.intake.on_colour)
        return [
            self.create_subscription(FeatureArray, "pervformer/features", on_features, SENSOR_DATA)
        ]

    def start_anew(self) -> None:
        """Begin anew, in the saved map if there is one."""
        with self._line:
            self._begin()

    def work(self, bundle: MessageBundle) -> None:
        """Localise one image's features and publish."""
        if self.intake.camera is None:
            raise InputError(Fault.NO_CAMERA_INFO, "no camera_info yet: is it published?")
        with self._line:
            self._last = self.backend.update(
                conversions.feature_set(bundle.colour),
                self.intake.camera,
                self.intake.extrinsics(bundle.colour.header.frame_id),
                bundle.T_odom_base,
            )
            self._frames += 1
            if self._last.is_keyframe:
                self._news = [self._path, self._graph]
        self._publish(self._last)

    def on_odometry_taken(self, stamp_ns: int) -> None:
        """Publish map -> odom with odometry: whoever asks where the robot is now needs both."""
        update = self._last
        if update is None or not self.given["publish_tf"]:
            return
        if self._tf_ns is not None and 0 <= stamp_ns - self._tf_ns < TF_STEP_NS:
            return
        self._tf_ns = stamp_ns
        ahead_ns = int(self.given["transform_tolerance"] * NANOSECONDS)
        correction = TransformStamped(
            header=conversions.header(stamp_ns + ahead_ns, self.given["map_frame"]),
            child_frame_id=self.given["odom_frame"],
            transform=conversions.transform_message(update.T_map_odom),
        )
        self._tf.publish(TFMessage(transforms=[correction]))

    def _publish(self, update: SlamUpdate) -> None:
        map_frame, base_frame = self.given["map_frame"], self.given["base_frame"]
        message = Odometry(
            header=conversions.header(update.stamp_ns, map_frame), child_frame_id=base_frame
        )
        message.pose.pose = conversions.pose_message(update.T_map_base)
        message.pose.covariance = update.covariance.ravel()
        self._odometry.publish(message)

    def _publish_map(self) -> None:
        """Publish path and graph if they have changed and somebody listens."""
        started_s, update = time.monotonic(), self._last
        wanted = [p for p in self._news if p.get_subscription_count()]
        if update is None or not wanted or started_s < self._map_due_s:
            return
        with self._line:
            self._news = [p for p in self._news if p not in wanted]
            graph = self.backend.graph()
        if self._path in wanted:
            self._path.publish(self._path_message(graph, update.stamp_ns))
        if self._graph in wanted:
            self._graph.publish(self._graph_message(graph, update.stamp_ns))
        self._map_due_s = started_s + (time.monotonic() - started_s) / MAP_SHARE

    def _path_message(self, graph: PoseGraph, stamp_ns: int) -> Path:
        """Return the keyframes' poses, by all that is known now."""
        map_frame = self.given["map_frame"]
        poses = [
            PoseStamped(
                header=conversions.header(stamp, map_frame), pose=conversions.pose_message(T)
            )
            for stamp, T in zip(graph.stamps_ns.tolist(), graph.poses, strict=True)
        ]
        return Path(header=conversions.header(stamp_ns, map_frame), poses=poses)

    def _graph_message(self, graph: PoseGraph, stamp_ns: int) -> MarkerArray:
        frame = conversions.header(stamp_ns, self.given["map_frame"])
        nodes = Marker(header=frame, ns="keyframes", type=Marker.SPHERE_LIST, color=KEYFRAME_COLOUR)
        nodes.pose.orientation.w = 1.0
        nodes.scale.x = nodes.scale.y = nodes.scale.z = 0.05
        nodes.points = [_point(T) for T in graph.poses]
        markers = [nodes]
        for kind, colour in EDGE_COLOURS.items():
            lines = Marker(header=frame, ns=kind.value, type=Marker.LINE_LIST, color=colour)
            lines.pose.orientation.w = 1.0
            lines.scale.x = 0.01
            for edge in graph.edges:
                if edge.kind is kind:
                    lines.points += [
                        _point(graph.poses[edge.first]),
                        _point(graph.poses[edge.second]),
                    ]
            markers.append(lines)
        return MarkerArray(markers=markers)

    def _on_save_map(
        self, request: SaveMemory.Request, response: SaveMemory.Response
    ) -> SaveMemory.Response:
        try:
            with self._line:
                saved = self.backend.snapshot_map()
            saved.write(FilePath(request.path))
        except Exception as error:  # the map in memory must outlive it
            response.success, response.message = False, self._refusal("save", error)
        else:
            count = len(saved.keyframes)
            response.success, response.message = True, f"{count} keyframes in {request.path}"
        return response

    def _on_load_map(
        self, request: LoadMemory.Request, response: LoadMemory.Response
    ) -> LoadMemory.Response:
        if not request.path:
            response.success, response.message = False, "path is empty: name the file of a map"
            return response
        try:
            with self._line:
                self._load(FilePath(request.path))
                count = len(self.backend.graph().poses)
        except Exception as error:  # the map in memory must outlive it
            response.success, response.message = False, self._refusal("load", error)
        else:
            response.success, response.message = True, f"{count} keyframes from {request.path}"
        return response

    def _refusal(self, what: str, error: Exception) -> str:
        """Log and return the words of an error; what no map is to blame for goes by its name."""
        words = str(error) if isinstance(error, MapError) else repr(error)
        self.get_logger().error(f"cannot {what} the map: {words}")
        return words

    def statuses(self, recent: list[Fault]) -> list[DiagnosticStatus]:
        """Report input and tracking."""
        name = self.qualified_name
        frames, self._frames = self._frames, 0
        if recent:
            said = bad_input(recent, bool(frames), "frame")
        elif not frames:
            said = STALE, "no features: is the perception node active?"
        else:
            said = OK, "receiving"
        input_status = status(f"{name}: input", *said, self.reporter.values())
        if self._last is None:
            return [input_status]
        last = self._last
        lost = last.state is TrackingState.LOST
        tracking = {
            "matched": last.matched,
            "inliers": last.inliers,
            "keyframes": self.backend.keyframes,
            "loop_closures": self.backend.loop_closures,
            "frames_per_s": frames,
            "frames_dropped": self.dropped,
            "warnings": "; ".join(last.warnings),
        }
        level = WARN if lost or last.warnings else OK
        return [
            input_status,
            status(f"{name}: tracking", level, last.state.value, tracking),
        ]


def _point(T: Array) -> Point:
    x, y, z = np.asarray(T[:3, 3], float).tolist()
    return Point(x=x, y=y, z=z)


def main(args: list[str] | None = None) -> None:
    """Run the SLAM node."""
    run(SlamNode, args)


if __name__ == "__main__":
    main()
