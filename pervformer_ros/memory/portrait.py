# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How objects and events look to people: words and colours that every display shares."""

import numpy as np

from pervformer_ros.memory.events import Event
from pervformer_ros.memory.objects import ObjectState, WorldObject

# Red, green, blue, opacity, 0 to 255.
Colour = tuple[int, int, int, int]

MOVING: Colour = (255, 140, 0, 255)
COLOURS: dict[ObjectState, Colour] = {
    ObjectState.VISIBLE: (40, 200, 80, 255),
    ObjectState.REMEMBERED: (110, 140, 220, 160),
    ObjectState.GONE: (220, 50, 50, 160),
}


def colour_of(thing: WorldObject) -> Colour:
    """Return the colour of an object's state; what is seen to move has one of its own."""
    in_view = thing.state is ObjectState.VISIBLE
    return MOVING if in_view and thing.moving else COLOURS[thing.state]


def caption(thing: WorldObject) -> str:
    """Return class and id, such as "pallet 12"."""
    return f"{thing.label} {thing.id}"


def sentence(event: Event) -> str:
    """Return what an event says, such as "MOVED pallet 12 by forklift 3 to (1.2, 4.0)"."""
    who = f"{event.label} {event.object_id}" if event.object_id else "something unknown"
    words = [event.type.name, who]
    if event.path_name:
        words.append(f"on {event.path_name}")
    if event.agent_id:
        words.append(f"by {event.agent_label} {event.agent_id}")
    for word, place in (("from", event.from_position), ("to", event.to_position)):
        if np.isfinite(place).all():
            words.append(f"{word} ({place[0]:.1f}, {place[1]:.1f})")
    return " ".join(words)
