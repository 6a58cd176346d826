# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From what objects do to what is told of them: setting off, coming to rest, having moved.

The confidence of what is told here is the belief in it, not calibrated yet.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from pervformer_ros.geometry import Array
from pervformer_ros.memory.belief import place_belief
from pervformer_ros.memory.classes import prior_of
from pervformer_ros.memory.events import NOWHERE, Event, EventType
from pervformer_ros.memory.objects import BIAS_SIGMA, WorldObject

# Metres from its home from which a thing in motion has set off, and one at rest has moved: who
# turns on the spot, arms and all, seems to go half as far.
NOTICEABLE, RELOCATED = 0.30, 0.30
# Turning on the spot is motion, too: what sets off is as fast as this (metres per second), which is
# more than so many deviations where its place is not sure; or it is this far away (metres).
SETTING_OFF_SPEED, SPEED_SIGMAS, SET_OFF_M = 0.2, 2.0, 0.5
# Seconds: what stops for a shorter time has not come to rest; a thing that nobody saw move must be
# seen at rest for as long before it is believed to have moved.
REST_S, BELIEVE_S = 0.35, 0.5
# What nobody saw move is believed to have moved only by more than the doubt about both places:
# in deviations, and as a share of its length, of which another part may have been in view. And its
# home must have been known to the last, metres.
DEVIATIONS, LENGTH_SHARE = 2.0, 0.15
SURE_PLACE_M = 0.35
# Log-odds from which motion is believed to begin, and seconds after which it has begun wherever the
# thing seems to be.
SETS_OFF, SETS_OFF_S = 2.5, 0.8
# An agent is within this much of touching (metres), and about as fast (metres per second).
TOUCH_M, SAME_SPEED = 0.6, 0.5
LEAST_TOGETHER = 3
# Belief in what was not seen to happen, relative to what was.
UNSEEN_BELIEF = 0.7
# What is told of a thing is told where it took place. It is not told while that is believed less
# than this: it waits until the place is known better.
LEAST_TOLD = 0.65
# Log-odds of motion below which a thing that was seen once rests where it is.
SURELY_RESTS = -1.0
# And how much less sure that place is than one that was seen for longer, metres.
FIRST_SIGHT_M = 0.2


class Changes:
    """Tells what objects do, each change once."""

    def appear(self, sighted: Iterable[WorldObject], eye: Array, stamp_ns: int) -> list[Event]:
        """Tell of the sighted objects that are certain, seen from an eye (3,)."""
        return [
            _weighed(_appear(thing, stamp_ns), thing, eye)
            for thing in sighted
            if thing.confirmed and not thing.announced and _is_placed(thing, eye)
        ]

    def disappear(self, thing: WorldObject, stamp_ns: int) -> Event:
        """Tell that the home of a thing is empty, which was near enough to be looked through."""
        home = thing.home if thing.has_home else thing.position
        thing.removed = True
        event = _event(stamp_ns, EventType.REMOVED, thing, home, NOWHERE)
        return replace(event, confidence=1 - thing.score)

    def watch(
        self,
        sighted: Iterable[WorldObject],
        known: dict[int, WorldObject],
        eye: Array,
        stamp_ns: int,
    ) -> list[Event]:
        """Return what the certain ones of the sighted objects were seen to do from an eye (3,)."""
        events: list[Event] = []
        sighted = list(sighted)
        certain = [o for o in sighted if o.confirmed]
        for thing in sighted:
            # Where it stood when it was seen first counts, should it set off before it is certain.
            if not thing.confirmed and not thing.has_home and thing.motion < SURELY_RESTS:
                thing.settle()
                thing.home_sigma += FIRST_SIGHT_M
        for thing in certain:
            told: list[Event] = []
            if thing.moving:
                self._note_agents(thing, certain)
                self._moving(thing, known, eye, stamp_ns, told)
            elif _is_placed(thing, eye):
                self._resting(thing, known, stamp_ns, told)
            events += [_weighed(event, thing, eye) for event in told]
        return events

    def _moving(
        self,
        thing: WorldObject,
        known: dict[int, WorldObject],
        eye: Array,
        stamp_ns: int,
        events: list[Event],
    ) -> None:
        if thing.in_motion:
            return
        if not thing.has_home:
            thing.in_motion = True
            return
        away = _distance(thing.position, thing.home)
        speed = float(np.linalg.norm(thing.velocity[:2]))
        doubt = float(np.sqrt(max(thing.covariance[3, 3], thing.covariance[4, 4])))
        unsure = thing.sigma + thing.home_sigma
        if unsure < SURE_PLACE_M:
            goes = speed > SETTING_OFF_SPEED and away - unsure > NOTICEABLE
        else:
            goes = speed > max(SETTING_OFF_SPEED, SPEED_SIGMAS * doubt) and away > NOTICEABLE
        # What cannot turn on the spot has set off once it has moved for long enough.
        goes = goes or (not thing.prior.turns and thing.same_s(stamp_ns) > SETS_OFF_S)
        if thing.motion < SETS_OFF or not (goes or away - DEVIATIONS * unsure > SET_OFF_M):
            return
        thing.in_motion = True
        if _place_belief(thing.home, thing.home_sigma, eye) < LEAST_TOLD:
            return
        agent = _agent(thing, known)
        events.append(
            _event(stamp_ns, EventType.STARTED_MOVING, thing, thing.home, thing.position, agent)
        )

    def _resting(
        self,
        thing: WorldObject,
        known: dict[int, WorldObject],
        stamp_ns: int,
        events: list[Event],
    ) -> None:
        rested_s = thing.same_s(stamp_ns)
        agent = _agent(thing, known)
        if thing.in_motion:
            if rested_s < REST_S:
                return
            thing.in_motion = thing.removed = False
            events.append(
                _event(stamp_ns, EventType.STOPPED, thing, NOWHERE, thing.position, agent)
            )
            unsure = 0.5 * (thing.sigma + thing.home_sigma)
            if thing.has_home and _distance(thing.position, thing.home) > RELOCATED + unsure:
                events.append(
                    _event(stamp_ns, EventType.MOVED, thing, thing.home, thing.position, agent)
                )
            thing.settle()
            thing.agents = {}
            return
        if not thing.has_home:
            thing.settle()
        elif not thing.removed and _distance(thing.position, thing.home) <= _doubt(thing):
            if rested_s >= REST_S:
                thing.agents = {}  # whoever passes by does not take it along
            # Seen better, or from another side; what is seen worse tells nothing.
            if thing.sigma <= max(thing.home_sigma, SURE_PLACE_M):
                thing.settle()
        elif not thing.removed and thing.home_sigma > SURE_PLACE_M:
            # Its home was not known well enough to say that it has left it.
            if thing.sigma < thing.home_sigma:
                thing.settle()
        elif rested_s >= BELIEVE_S:
            events.append(
                _event(
                    stamp_ns,
                    EventType.MOVED,
                    thing,
                    thing.home,
                    thing.position,
                    agent,
                    UNSEEN_BELIEF if agent is None else 1.0,
                )
            )
            thing.settle()
            thing.agents, thing.removed = {}, False

    @staticmethod
    def _note_agents(thing: WorldObject, certain: list[WorldObject]) -> None:
        """Count who is at a moving thing and as fast as it is."""
        for other in certain:
            if (
                other is thing
                or not other.prior.carries
                or not other.moving
                or (thing.prior.carries and not _leads(other, thing))
            ):
                continue
            reach = (max(thing.size[:2]) + max(other.size[:2])) / 2 + TOUCH_M
            near = np.linalg.norm((thing.position - other.position)[:2]) < reach
            alike = np.linalg.norm((thing.velocity - other.velocity)[:2]) < SAME_SPEED
            if near and alike:
                thing.agents[other.id] = thing.agents.get(other.id, 0) + 1


def _appear(thing: WorldObject, stamp_ns: int) -> Event:
    thing.announced = True
    return _event(stamp_ns, EventType.APPEARED, thing, NOWHERE, thing.position)


def _weighed(event: Event, thing: WorldObject, eye: Array) -> Event:
    """Return an event with the belief that it is right, place and all, seen from an eye."""
    sets_off = event.type is EventType.STARTED_MOVING
    place, sigma = (thing.home, thing.home_sigma) if sets_off else (event.to_position, thing.sigma)
    return replace(event, confidence=event.confidence * _place_belief(place, sigma, eye))


def _is_placed(thing: WorldObject, eye: Array) -> bool:
    """Return whether the place of a thing, seen from an eye (3,), is known well enough to tell."""
    return thing.score * _place_belief(thing.position, thing.sigma, eye) >= LEAST_TOLD


def _place_belief(place: Array, sigma: float, eye: Array) -> float:
    """Return the belief that a place (3,) is right, by its deviation, seen from an eye (3,)."""
    return place_belief(sigma, float(np.linalg.norm((place - eye)[:2])))


def _leads(other: WorldObject, thing: WorldObject) -> bool:
    """Return whether the first of two that can carry takes the second along: people pull jacks."""
    return other.label == "person" and thing.label == "pallet_jack"


def _doubt(thing: WorldObject) -> float:
    """Return how far from its home a thing at rest may seem to be without having moved."""
    variance = thing.sigma**2 + thing.home_sigma**2 + 2 * BIAS_SIGMA**2
    longest = prior_of(thing.label).length
    return RELOCATED + DEVIATIONS * float(variance**0.5) + LENGTH_SHARE * longest


def _agent(thing: WorldObject, known: dict[int, WorldObject]) -> WorldObject | None:
    """Return who took a thing along in most images, None if nobody did for long enough."""
    if not thing.agents:
        return None
    order = ("forklift", "pallet_jack", "person", "robot")
    best = max(
        (i for i in thing.agents if i in known),
        key=lambda i: (thing.agents[i], -order.index(known[i].label) if known[i].label in order
                       else -9),
        default=None,
    )  # fmt: skip
    if best is None or thing.agents[best] < LEAST_TOGETHER:
        return None
    return known[best]


def _event(
    stamp_ns: int,
    kind: EventType,
    thing: WorldObject,
    start: Array,
    end: Array,
    agent: WorldObject | None = None,
    belief: float = 1.0,
) -> Event:
    return Event(
        stamp_ns=stamp_ns,
        type=kind,
        object_id=thing.id,
        label=thing.label,
        confidence=belief * thing.score,
        from_position=start.copy(),
        to_position=end.copy(),
        agent_id=0 if agent is None else agent.id,
        agent_label="" if agent is None else agent.label,
    )


def _distance(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b))
