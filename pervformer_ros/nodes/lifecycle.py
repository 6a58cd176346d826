# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What both nodes share: life cycle, subscriptions of a camera, diagnostics, and running one."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from pervformer_ros.bags.intake import Intake, IntakeConfig, MessageBundle
from pervformer_ros.frame import NANOSECONDS, Fault, FaultLog, InputError
from pervformer_ros.nodes import parameters
from pervformer_ros.nodes.diagnostics import FaultReporter, array
from pervformer_ros.nodes.parameters import Spec
from pervformer_ros.worker import LatestWorker

SENSOR_DATA = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
ODOMETRY = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
# What a planner publishes again and again, and what is published once and latched: a subscriber
# of the one kind does not get what was said before, one of the other is not given the first.
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
NEWEST_LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
DIAGNOSTICS_PERIOD_S = 1.0
REFUSAL = "cannot configure"


class StreamNode(LifecycleNode):
    """A lifecycle node that pairs a stream with odometry and works on the newest bundle.

    A subclass says which parameters it has, opens what it needs, and does the work.
    """

    specs: tuple[Spec, ...] = ()

    def __init__(self, name: str, **node_options: Any):
        super().__init__(name, **node_options)
        parameters.declare(self, self.specs)
        self.add_on_set_parameters_callback(self._refuse_while_configured)
        self._configured = False
        self._inputs: list[Any] = []
        self._worker: LatestWorker[MessageBundle] | None = None
        self._timer: Any = None
        self._newest_ns = 0  # of what was worked on
        self.offered = 0  # bundles since it was activated

    # What a subclass provides ---------------------------------------------------------------

    @abstractmethod
    def open(self, given: dict[str, Any]) -> None:
        """Load models and create publishers and services; an exception refuses."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what `open` made."""

    @abstractmethod
    def subscribe(self, given: dict[str, Any]) -> list[Any]:
        """Return the stream's own subscriptions, besides camera, odometry and /tf_static."""

    @abstractmethod
    def start_anew(self) -> None:
        """Forget what was: time went backwards. Called in the worker's thread."""

    @abstractmethod
    def work(self, bundle: MessageBundle) -> None:
        """Do the work on one bundle, in the worker's thread; InputError is counted."""

    @abstractmethod
    def statuses(self, recent: list[Fault]) -> list[DiagnosticStatus]:
        """Return what to say on /diagnostics; `recent` are the faults of the last second."""

    # Life cycle -----------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read parameters, load the model, create publishers and services."""
        try:
            self.given = parameters.values(self, self.specs)
            self.intake_config: IntakeConfig = parameters.intake_config(self.given)
            self.open(self.given)
        except Exception as error:  # of a file, of torch, of a value: all are for the user
            self.get_logger().error(f"{REFUSAL}: {error}")
            return TransitionCallbackReturn.FAILURE
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._configured = True
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start working."""
        super().on_activate(state)
        try:
            self._start()
        except Exception as error:  # rclpy would swallow it
            self.get_logger().error(f"cannot activate: {error}")
            self.on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _start(self) -> None:
        self.offered = 0
        self.faults = FaultLog()
        self.reporter = FaultReporter(self, self.faults)
        self.intake = Intake(self.intake_config, self.faults)
        self._epoch = 0
        self._worker = LatestWorker(self._work, self._on_error, self.get_name())
        self._inputs = [
            *self.subscribe(self.given),
            self.create_subscription(
                CameraInfo, "/camera/color/camera_info", self.intake.on_camera_info, SENSOR_DATA
            ),
            self.create_subscription(TFMessage, "/tf_static", self.intake.on_tf_static, LATCHED),
        ]
        if self.given["use_odometry"]:
            on_odometry = self.offering(self._take_odometry)
            self._inputs.append(self.create_subscription(Odometry, "/odom", on_odometry, ODOMETRY))
        # On a steady clock: it must speak above all when /clock stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(
            DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady
        )

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop working and unsubscribe; what is remembered stays."""
        self.stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of model, publishers and services."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything, so that it can be configured anew."""
        self.stop()
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop from any state."""
        self.stop()
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def autostart(self) -> None:
        """Configure and activate, if the parameter says so."""
        if not self.get_parameter("autostart").value:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _refuse_while_configured(self, changed: list[Parameter]) -> SetParametersResult:
        ours = {spec.name for spec in self.specs}.intersection(p.name for p in changed)
        if self._configured and ours:
            return SetParametersResult(
                successful=False,
                reason=f"{', '.join(sorted(ours))} is read when the node is configured: "
                "deactivate and clean it up first",
            )
        return SetParametersResult(successful=True)

    # The stream -----------------------------------------------------------------------------

    def offering(self, take: Callable[[Any], Iterable[MessageBundle]]) -> Callable[[Any], None]:
        """Return a callback that gives messages to the intake and ready bundles to the worker."""

        def callback(message: Any) -> None:
            for bundle in take(message):
                if self._worker is not None:
                    self.offered += 1
                    self._worker.offer(bundle)

        return callback

    def _work(self, bundle: MessageBundle) -> None:
        # Time may have gone back while the node was inactive, too.
        if bundle.epoch != self._epoch or bundle.stamp_ns < self._newest_ns:
            self.start_anew()
        self._epoch, self._newest_ns = bundle.epoch, bundle.stamp_ns
        self.work(bundle)

    def _take_odometry(self, message: Odometry) -> list[MessageBundle]:
        frame, expected = message.header.frame_id, self.given["odom_frame"]
        if frame != expected:
            self.faults.add(
                Fault.INVALID_ODOMETRY,
                f"odometry is in frame '{frame}', odom_frame is '{expected}': set odom_frame",
            )
        before_ns = self.intake.newest_odometry_ns
        ready = self.intake.on_odometry(message)
        stamp_ns = self.intake.newest_odometry_ns
        if stamp_ns is None or stamp_ns == before_ns:  # refused
            return ready
        if self._is_of_this_time(stamp_ns, before_ns):
            self.on_odometry_taken(stamp_ns)
        return ready

    def _is_of_this_time(self, stamp_ns: int, before_ns: int | None) -> bool:
        """Tell whether odometry is near the last image or, as images may cease, near that before.

        So a single stamp that jumps is left out, as an image's is.
        """
        limit_ns = int(self.intake.config.assembly.jump_ahead_s * NANOSECONDS)
        others = (self._newest_ns, before_ns)
        return any(ns is not None and abs(stamp_ns - ns) < limit_ns for ns in others)

    def on_odometry_taken(self, stamp_ns: int) -> None:
        """Do what is to be done with odometry that was taken and is of this time; nothing here."""

    @property
    def qualified_name(self) -> str:
        """The node's name with its namespace: /diagnostics is one topic for all robots."""
        return str(self.get_fully_qualified_name()).lstrip("/")

    @property
    def dropped(self) -> int:
        """How many bundles came while one was waiting already."""
        return self._worker.dropped if self._worker is not None else 0

    def _on_error(self, error: Exception) -> None:
        if not self.context.ok():  # ROS was shut down meanwhile: nothing can be published any more
            return
        if isinstance(error, InputError):
            self.faults.add(error.fault, str(error))
            return
        self.faults.add(Fault.PROCESSING_FAILED, f"{type(error).__name__}: {error}")
        self.get_logger().error(f"a frame failed: {error!r}", throttle_duration_sec=5.0)

    def _publish_diagnostics(self) -> None:
        self._diagnostics.publish(array(self, self.statuses(self.reporter.recent())))

    def stop(self) -> None:
        """End the work and the subscriptions, if there are any."""
        if self._worker is None:
            return
        self._worker.stop()
        self._worker = None
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []

    def _close(self) -> None:
        if hasattr(self, "_diagnostics"):
            self.destroy_publisher(self._diagnostics)
            del self._diagnostics
            self._configured = False
            self.close()


def run(make_node: Callable[[], StreamNode], args: list[str] | None = None) -> None:
    """Run one node until it is interrupted; the body of every node's main."""
    rclpy.init(args=args)
    try:
        node = make_node()
    except ParameterException as error:
        rclpy.try_shutdown()
        raise SystemExit(f"a parameter cannot be used: {error}") from None
    try:
        node.autostart()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():
            raise
        # Asked to leave in the middle of a callback: there is nobody left to publish to.
    finally:
        node.stop()
        node.destroy_node()
        rclpy.try_shutdown()
