# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node: camera topics in; objects, events, features and masks out."""

import threading
import time
from collections import Counter, deque
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from pervformer_msgs.msg import (
    FeatureArray,
    SemanticEvent,
    TrackedObjectArray,
    WorkingMemoryStatus,
)
from pervformer_msgs.srv import LoadMemory, QueryMemory, SaveMemory
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from pervformer_ros.bags.images import encoding_of_depth
from pervformer_ros.bags.intake import MessageBundle
from pervformer_ros.features import feather
from pervformer_ros.frame import Fault, Frame
from pervformer_ros.geometry import rotation_angle
from pervformer_ros.memory import ObjectState, SnapshotError, read_corridors, read_edges
from pervformer_ros.nodes import conversions, parameters
from pervformer_ros.nodes.correction import SlamCorrection
from pervformer_ros.nodes.corridors import corridor_of
from pervformer_ros.nodes.diagnostics import OK, STALE, WARN, bad_input, status
from pervformer_ros.nodes.edges import EdgeRelay, Nav2RouteServer
from pervformer_ros.nodes.lifecycle import (
    LATCHED,
    NEWEST,
    NEWEST_LATCHED,
    SENSOR_DATA,
    StreamNode,
    run,
)
from pervformer_ros.nodes.markers import MarkerPainter
from pervformer_ros.pipeline import Pipeline, PipelineConfig, PipelineOutput

LATENCIES = 1000
TRANSPORTS = {
    "raw": (Image, ""),
    "compressed": (CompressedImage, "/compressed"),
    "compressedDepth": (CompressedImage, "/compressedDepth"),
}


class PerceptionNode(StreamNode):
    """Runs the line on live topics and publishes what it gives, with the image's own stamp."""

    specs = parameters.PERCEPTION

    def __init__(self, **node_options: Any):
        super().__init__("pervformer", **node_options)
        # The worker steps the pipeline; services look into it and replace its memory.
        self._line = threading.Lock()

    def open(self, given: dict[str, Any]) -> None:
        """Load the model, create publishers and services."""
        for name in given["path_topics"]:
            validate_topic_name(path_topic(name))
        if given["threads"]:
            torch.set_num_threads(given["threads"])
        self.pipeline = Pipeline(
            PipelineConfig(
                checkpoint=given["checkpoint"],
                model=given["model"],
                features=given["features"],
                max_features=given["max_features"],
                device=given["device"],
                motion_threshold=given["motion_threshold"],
                mask_margin_px=given["mask_margin"],
                paths=read_corridors(Path(given["paths"])) if given["paths"] else (),
            )
        )
        if not self.pipeline.trained:
            self.get_logger().warning(
                f"model '{self.pipeline.model_name}' was never trained: no objects or events, "
                "everything counts as static"
            )
        self._just_loaded = False  # a memory, and no image was worked on since
        publisher = self.create_lifecycle_publisher
        self._objects = publisher(TrackedObjectArray, "~/objects", SENSOR_DATA)
        self._features = publisher(FeatureArray, "~/features", SENSOR_DATA)
        self._static_mask = publisher(Image, "~/static_mask", SENSOR_DATA)
        self._static_depth = publisher(Image, "~/static_depth", SENSOR_DATA)
        self._memory_status = publisher(WorkingMemoryStatus, "~/memory_status", SENSOR_DATA)
        self._events = publisher(SemanticEvent, "~/events", LATCHED)
        self._markers = publisher(MarkerArray, "~/markers", 10)
        self._painter = MarkerPainter()
        self._route_server, self._relay = self._make_relay(given["paths"])
        self._memory_services = [
            self.create_service(Trigger, "~/reset_memory", self._on_reset_memory),
            self.create_service(SaveMemory, "~/save_memory", self._on_save_memory),
            self.create_service(LoadMemory, "~/load_memory", self._on_load_memory),
            self.create_service(QueryMemory, "~/query_memory", self._on_query_memory),
        ]
        self._latency_ms: deque[float] = deque(maxlen=LATENCIES)

    def close(self) -> None:
        """Let go of the model, publishers and services."""
        for publisher in (
            self._objects,
            self._features,
            self._static_mask,
            self._static_depth,
            self._memory_status,
            self._events,
            self._markers,
        ):
            self.destroy_lifecycle_publisher(publisher)
        for service in self._memory_services:
            self.destroy_service(service)
        if self._route_server is not None:
            self._route_server.close()
        del self.pipeline

    def subscribe(self, given: dict[str, Any]) -> list[Any]:
        """Subscribe to colour and, where wanted, depth, SLAM's pose and corridors."""
        kind, suffix = TRANSPORTS[given["image_transport"]]
        topic = "/camera/color/image_raw" + suffix
        on_colour = self.offering(self.intake.on_colour)
        subscriptions = [self.create_subscription(kind, topic, on_colour, SENSOR_DATA)]
        if given["use_depth"]:
            kind, suffix = TRANSPORTS[given["depth_transport"]]
            topic = "/camera/depth/image_raw" + suffix
            on_depth = self.offering(self.intake.on_depth)
            subscriptions.append(self.create_subscription(kind, topic, on_depth, SENSOR_DATA))
        self._correction = SlamCorrection(self.intake, self.faults)
        self._offered_before = 0
        if given["follow_slam"] and given["use_odometry"]:
            hear = self._correction.hear
            subscriptions.append(
                self.create_subscription(Odometry, "slam/odometry", hear, SENSOR_DATA)
            )
        for name in given["path_topics"]:
            take = partial(self._on_path, name)
            subscriptions += [
                self.create_subscription(PathMessage, path_topic(name), take, quality)
                for quality in (NEWEST, NEWEST_LATCHED)
            ]
        return subscriptions

    def start_anew(self) -> None:
        """Forget everything but a memory that was just loaded, and where odom lay in map."""
        self._correction.forget()
        with self._line:
            if not self._just_loaded:
                self.pipeline.reset()

    def work(self, bundle: MessageBundle) -> None:
        """Run the line on one frame and publish."""
        frame = self.intake.build(bundle)
        with self._line:
            if (T_map_odom := self._correction.T_map_odom) is not None:
                self.pipeline.correct(T_map_odom)
            output = self.pipeline.step(frame)
            self._just_loaded = False
            blocked = list(self.pipeline.memory.paths.blockers)
        if self._relay is not None:
            self._relay.update(blocked, time.monotonic())
        encoding = "16UC1" if bundle.depth is None else encoding_of_depth(bundle.depth)
        self._publish(frame, output, encoding)
        self._latency_ms.append(output.latency_ms)

    def _publish(self, frame: Frame, output: PipelineOutput, depth_encoding: str) -> None:
        stamp, camera, odom = output.stamp_ns, frame.frame_id, self.given["odom_frame"]
        self._features.publish(conversions.feature_message(output.features, camera))
        self._objects.publish(conversions.objects_message(output.objects, stamp, odom))
        for event in output.events:
            self._events.publish(conversions.event_message(event, odom))
        mask = feather(output.static_mask, self.given["mask_feather"])
        self._static_mask.publish(conversions.image_message(mask, "mono8", stamp, camera))
        if output.static_depth is not None:
            self._static_depth.publish(
                conversions.depth_message(output.static_depth, depth_encoding, stamp, camera)
            )
        self._memory_status.publish(self._status_message(output, camera))
        if self._markers.get_subscription_count():
            header = conversions.header(stamp, odom)
            self._markers.publish(self._painter.paint(output.objects, header))
        else:
            self._painter.forget()

    def _status_message(self, output: PipelineOutput, camera: str) -> WorkingMemoryStatus:
        states = Counter(o.state for o in output.objects)
        return WorkingMemoryStatus(
            header=conversions.header(output.stamp_ns, camera),
            frames=self.pipeline.frames,
            frames_dropped=self.dropped,
            probes=self.pipeline.probes,
            probes_in_use=self.pipeline.probes_in_use,
            objects_visible=states[ObjectState.VISIBLE],
            objects_remembered=states[ObjectState.REMEMBERED],
            state_bytes=self.pipeline.state_bytes,
            latency_ms=output.latency_ms,
            checkpoint=self.pipeline.model_name,
        )

    # Corridors ------------------------------------------------------------------------------

    def _on_path(self, name: str, message: PathMessage) -> None:
        """Watch the corridor along a path; one without poses is watched no longer."""
        frames = self.given["map_frame"], self.given["odom_frame"]
        half_width = self.given["path_half_width"]
        with self._line:
            memory = self.pipeline.memory
            try:
                corridor = corridor_of(
                    name, message, half_width, frames, memory.T_map_odom, self.intake
                )
            except ValueError as error:
                self.faults.add(Fault.INVALID_PATH, f"path '{name}': {error}")
                return
            if corridor is None:
                memory.paths.lift(name)
            else:
                memory.paths.lay(corridor)

    def _make_relay(self, file: str) -> tuple[Nav2RouteServer | None, EdgeRelay | None]:
        """Return who closes nav2's edges, where corridors name any and nav2 is installed."""
        edges = read_edges(Path(file)) if file else {}
        if not edges:
            return None, None
        if not Nav2RouteServer.installed():
            self.get_logger().warning(f"{file} names edges, but nav2_msgs is not installed")
            return None, None
        server = Nav2RouteServer(self)
        return server, EdgeRelay(edges, server)

    # Diagnostics ----------------------------------------------------------------------------

    def statuses(self, recent: list[Fault]) -> list[DiagnosticStatus]:
        """Report input, model and throughput."""
        latencies = list(self._latency_ms)
        self._latency_ms.clear()
        name = self.qualified_name
        frames = len(latencies)
        came, self._offered_before = self.offered - self._offered_before, self.offered
        if recent:
            said = bad_input(recent, bool(frames), "image")
        elif not frames and came:
            said = WARN, "images come faster than one is worked on: a second was not enough"
        elif not frames:
            said = STALE, "no images: is the camera publishing, with matching topic and transport?"
        else:
            said = OK, "receiving"
        model = (
            (OK, "trained")
            if self.pipeline.trained
            else (WARN, "never trained: no objects, no events, everything counts as static")
        )
        seen_with = {
            "checkpoint": self.pipeline.model_name,
            "features": self.pipeline.feature_kind,
        }
        throughput = {
            "frames": self.pipeline.frames,
            "frames_dropped": self.dropped,
            "frames_per_s": frames,
            "latency_ms_p50": f"{np.median(latencies):.1f}" if frames else "",
            "latency_ms_max": f"{max(latencies):.1f}" if frames else "",
        }
        return [
            status(f"{name}: input", *said, self.reporter.values()),
            status(f"{name}: model", *model, seen_with),
            status(f"{name}: memory", OK, *self._memory_values()),
            status(f"{name}: throughput", OK, f"{frames} frames/s", throughput),
        ]

    def _memory_values(self) -> tuple[str, dict[str, Any]]:
        """Return what to say of the memory, and its figures."""
        memory = self.pipeline.memory
        T = memory.T_map_odom
        values = {
            "objects": len(memory.map),
            "forgotten": memory.map.forgotten,
            "paths_blocked": ", ".join(memory.paths.blockers),
            "correction_m": f"{np.linalg.norm(T[:3, 3]):.3f}",
            "correction_deg": f"{np.degrees(rotation_angle(T)):.2f}",
        }
        heard = self._correction.is_fresh(self._newest_ns)
        return ("corrected by SLAM" if heard else "by odometry alone"), values

    # Services -------------------------------------------------------------------------------

    def _on_reset_memory(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        with self._line:
            self.pipeline.reset()
        response.success, response.message = True, "memory is empty"
        return response

    def _on_save_memory(
        self, request: SaveMemory.Request, response: SaveMemory.Response
    ) -> SaveMemory.Response:
        with self._line:
            snapshot = self.pipeline.snapshot()
        try:
            snapshot.write(Path(request.path))
        except SnapshotError as error:
            response.success, response.message = False, str(error)
        else:
            count = len(snapshot.objects)
            response.success, response.message = True, f"{count} objects in {request.path}"
        return response

    def _on_load_memory(
        self, request: LoadMemory.Request, response: LoadMemory.Response
    ) -> LoadMemory.Response:
        try:
            with self._line:
                count = len(self.pipeline.restore(Path(request.path)).objects)
                self._just_loaded = True
        except SnapshotError as error:
            response.success, response.message = False, str(error)
        else:
            response.success, response.message = True, f"{count} objects from {request.path}"
        return response

    def _on_query_memory(
        self, request: QueryMemory.Request, response: QueryMemory.Response
    ) -> QueryMemory.Response:
        centre = np.array([request.centre.x, request.centre.y, request.centre.z])
        since_ns = conversions.nanoseconds(request.since)
        with self._line:
            things, events = self.pipeline.memory.query(
                request.label, centre, request.radius, since_ns
            )
            response.objects = [conversions.object_message(o) for o in things]
        odom = self.given["odom_frame"]
        response.events = [conversions.event_message(e, odom) for e in events]
        return response


def path_topic(name: str) -> str:
    """Return the topic on which the corridor of a name comes."""
    return f"~/paths/{name}"


def main(args: list[str] | None = None) -> None:
    """Run the perception node."""
    run(PerceptionNode, args)


if __name__ == "__main__":
    main()
