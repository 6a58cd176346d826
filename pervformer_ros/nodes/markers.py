# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Remembered objects for RViz: a box and a label each, deleted when the object is gone."""

from collections.abc import Sequence

from geometry_msgs.msg import Point, Pose, Quaternion
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from pervformer_ros.geometry import make_rotation
from pervformer_ros.memory import ObjectState, WorldObject, portrait
from pervformer_ros.nodes import conversions

BOXES, LABELS = "objects", "labels"
# Labels are this tall and float this much above their box, metres.
TEXT_M, ABOVE_M = 0.25, 0.2
# Boxes are seen through, so that the cloud inside of them shows.
BOX_OPACITY = 0.45
LEAST_SIZE_M = 0.01


class MarkerPainter:
    """Draws what is remembered, and wipes away what no longer is."""

    def __init__(self) -> None:
        self._drawn: set[int] = set()
        self._begun = False

    def forget(self) -> None:
        """Begin anew with the next picture, for whoever looks then."""
        self._drawn, self._begun = set(), False

    def paint(self, objects: Sequence[WorldObject], header: Header) -> MarkerArray:
        """Return the change from the last picture to one of these objects.

        Args:
            objects: what the memory lists; what is gone is wiped away.
            header: frame and stamp of their poses.
        """
        there = [o for o in objects if o.state is not ObjectState.GONE]
        ids = {o.id for o in there}
        markers = [] if self._begun else [Marker(header=header, action=Marker.DELETEALL)]
        for number in sorted(self._drawn - ids):
            markers += [_wiped(number, space, header) for space in (BOXES, LABELS)]
        for thing in there:
            markers += [_box(thing, header), _label(thing, header)]
        self._drawn, self._begun = ids, True
        return MarkerArray(markers=markers)


def _box(thing: WorldObject, header: Header) -> Marker:
    marker = _marker(thing.id, BOXES, Marker.CUBE, header)
    T = make_rotation((0.0, 0.0, thing.heading))
    T[:3, 3] = thing.position
    marker.pose = conversions.pose_message(T)
    # RViz complains about boxes without an extent.
    marker.scale = conversions.vector_message(thing.size.clip(min=LEAST_SIZE_M))
    marker.color = _colour(thing, BOX_OPACITY)
    return marker


def _label(thing: WorldObject, header: Header) -> Marker:
    marker = _marker(thing.id, LABELS, Marker.TEXT_VIEW_FACING, header)
    x, y, z = thing.position.tolist()
    top = z + float(thing.size[2]) / 2 + ABOVE_M
    marker.pose = Pose(position=Point(x=x, y=y, z=top), orientation=Quaternion(w=1.0))
    marker.scale.z = TEXT_M
    marker.text = portrait.caption(thing)
    marker.color = _colour(thing, 1.0)
    return marker


def _marker(number: int, space: str, kind: int, header: Header) -> Marker:
    return Marker(header=header, ns=space, id=_signed(number), type=kind, action=Marker.ADD)


def _wiped(number: int, space: str, header: Header) -> Marker:
    return Marker(header=header, ns=space, id=_signed(number), action=Marker.DELETE)


def _signed(number: int) -> int:
    """Return an object's id as a marker's, which is an int32."""
    return number - 2**32 if number >= 2**31 else number


def _colour(thing: WorldObject, opacity: float) -> ColorRGBA:
    red, green, blue, alpha = (value / 255 for value in portrait.colour_of(thing))
    return ColorRGBA(r=red, g=green, b=blue, a=alpha * opacity)
