# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`pervformer evaluate memory`: events and objects of every scenario and seed, as rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pervformer_ros.bags.ground_truth import TrueChange, TrueThing
from pervformer_ros.evaluation.episodes import episodes_of
from pervformer_ros.evaluation.memory.calibration import write_confidences
from pervformer_ros.evaluation.memory.percepts import (
    NOISY,
    PERFECT,
    PerceptNoise,
    SlamStandIn,
    TruthPercepts,
)
from pervformer_ros.evaluation.memory.plain import shown_plainly
from pervformer_ros.evaluation.memory.record import EventRecord
from pervformer_ros.evaluation.memory.scoring import EventScore, Happening
from pervformer_ros.evaluation.table import Row, write_table
from pervformer_ros.frame import NANOSECONDS, Frame
from pervformer_ros.geometry import Array, invert
from pervformer_ros.memory import (
    Corridor,
    EventType,
    MemoryConfig,
    ObjectState,
    WorkingMemory,
)
from pervformer_ros.model import find_weights
from pervformer_ros.pipeline import Pipeline, PipelineConfig, event_calibration
from pervformer_ros.sim.episode import FRAME_RATE, TICKS_PER_FRAME, Episode, Sight, frames_apart
from pervformer_ros.sim.seeds import refuse_held_out
from pervformer_ros.sim.truth import Observer, TrueEvent, TrueObject
from pervformer_ros.slam import SlamBackend

SUITE = "memory"
# What the memory is told: the truth, the truth with errors as a detector makes, or the weights.
MODEL = "model"
SOURCES = {"truth": PERFECT, "truth_noisy": NOISY, MODEL: None}
POSES = ("slam", "odometry")
# What a pallet's old and new place may be off in the scenario that is about it, metres.
PALLET_M = 0.3


@dataclass(frozen=True, slots=True)
class MemoryRun:
    """What is judged together: a source along one scenario and seed.

    events: by the first image that shows them; plain: by the first that shows them plainly.
    """

    source: str
    scenario: str
    seed: int
    events: EventScore
    plain: EventScore
    row: Row
    start_ns: int


def evaluate_memory(
    sources: Sequence[str],
    episodes: Sequence[tuple[str, int]],
    out: Path,
    config: PipelineConfig | None = None,
    pose: str = "slam",
    seconds: float | None = None,
    rate: int = FRAME_RATE,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Judge memories along episodes; write table.json, mistakes.txt and confidences.json.

    The latter holds what the model told: `calibration.py` fits its confidence by it.

    Args:
        sources: of SOURCES.
        episodes: scenarios and seeds.
        out: folder, made if missing.
        config: of the line, for the source `model`.
        pose: "slam" or "odometry", what corrects odometry; the truth's SLAM is the true pose with
            an error that wanders by about 0.1 m.
        seconds: cut each off after so long.
        rate: images per second, 15 or a part of it.
        progress: called with (images done, images in all).

    Raises:
        ValueError: if there is no such source, pose or rate.
    """
    _check(sources, pose)
    every = frames_apart(rate)
    if not episodes:
        raise ValueError("there is nothing to live through: name scenarios")
    config = config or PipelineConfig()
    weights = find_weights(config.checkpoint, config.model) if MODEL in sources else None
    used = event_calibration(weights)
    runs: list[MemoryRun] = []
    for scenario, seed in episodes:
        for source in sources:
            episode = Episode(scenario, seed, seconds)
            noise = SOURCES[source]
            if noise is None:
                record = _model(episode, config, pose, every, progress)
            else:
                record = _truth(episode, noise, pose, every, progress)
            runs.append(_run(source, episode, pose, record))
            write_table(SUITE, [r.row for r in runs], out)  # what is there is there
            told = sum((r.plain for r in runs if r.source == MODEL), EventScore())
            write_confidences(told, used, out / "confidences.json")
            lines = [line for run in runs for line in _mistakes(run)]
            (out / "mistakes.txt").write_text("\n".join(lines) + "\n")
    rows = [r.row for r in runs] + [_sum(s, [r for r in runs if r.source == s]) for s in sources]
    write_table(SUITE, rows, out)
    return rows


def development(scenarios: str, seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Return scenarios and seeds that a memory may be tuned on.

    Args:
        scenarios: separated by commas; "" for all but the long shift.
        seeds: for each of them.

    Raises:
        ValueError: if there is no such scenario, or a seed is held out.
    """
    refuse_held_out(seeds)
    return episodes_of(scenarios, seeds)


def corridors_of(episode: Episode) -> tuple[Corridor, ...]:
    """Return an episode's corridors in odom as it is at the start, where SLAM's map begins."""
    T = invert(episode.T_map_base(0))
    return tuple(
        Corridor(p.name, p.centre_line, p.half_width).moved(T) for p in episode.layout.paths()
    )


def _check(sources: Sequence[str], pose: str) -> None:
    if unknown := [s for s in sources if s not in SOURCES]:
        raise ValueError(f"there is no source {unknown}: use {', '.join(SOURCES)}")
    if pose not in POSES:
        raise ValueError(f"there is no pose '{pose}': use {', '.join(POSES)}")


def _truth(
    episode: Episode,
    noise: PerceptNoise,
    pose: str,
    every: int,
    progress: Callable[[int, int], None],
) -> EventRecord:
    """Let a memory live an episode with percepts that are made from the truth."""
    memory = WorkingMemory(MemoryConfig(paths=corridors_of(episode)))
    percepts = TruthPercepts([b.kind.label for b in episode.bodies], episode.seed, noise)
    slam, start = SlamStandIn(episode.seed), invert(episode.T_map_base(0))
    record, observer = EventRecord(), Observer(episode)
    rng = np.random.default_rng(episode.seed)
    reach = float(rng.uniform(7.5, 10.0))
    for index in range(0, len(episode), every):
        tick = index * TICKS_PER_FRAME
        sight = episode.sight(tick)
        objects, changes = observer.observe(sight)
        things = [_thing(o) for o in objects]
        T_odom_base = episode.T_odom_base(tick)
        frame = _frame(episode, sight, T_odom_base, reach)
        seen = percepts.sightings(frame, T_odom_base, sight.instance, things)
        T_map_odom = (
            start @ slam.correct(sight.T_map_base) @ invert(T_odom_base) if pose == "slam" else None
        )
        update = memory.update(frame, T_odom_base, seen, T_map_odom)
        record.hear(
            frame.stamp_ns,
            sight.T_map_base,
            T_odom_base,
            update.objects,
            update.events,
            things,
            [_change(c) for c in changes],
            shown_plainly(episode, sight, objects),
        )
        progress(index + 1, len(episode))
    return record


def _model(
    episode: Episode,
    config: PipelineConfig,
    pose: str,
    every: int,
    progress: Callable[[int, int], None],
) -> EventRecord:
    """Let the line live an episode, as `replay` does."""
    backend = SlamBackend() if pose == "slam" else None
    pipeline = Pipeline(replace(config, paths=corridors_of(episode)), backend)
    record, observer = EventRecord(), Observer(episode)
    for shot in episode.shots(every=every):
        objects, changes = observer.observe(shot.sight)
        output = pipeline.step(shot.frame)
        assert shot.frame.T_odom_base is not None
        record.hear(
            shot.frame.stamp_ns,
            shot.T_map_base,
            shot.frame.T_odom_base,
            output.objects,
            output.events,
            [_thing(o) for o in objects],
            [_change(c) for c in changes],
            shown_plainly(episode, shot.sight, objects),
        )
        progress(shot.index + 1, len(episode))
    return record


def _frame(episode: Episode, sight: Sight, T_odom_base: Array, reach: float) -> Frame:
    """Return what a camera would deliver but colours; depth as far as it reaches."""
    seen = (sight.depth > 0.35) & (sight.depth < reach)
    depth = np.where(seen, sight.depth, 0).astype(np.float32)
    return Frame(
        stamp_ns=sight.stamp_ns,
        rgb=np.zeros((*depth.shape, 3), np.uint8),
        depth=depth,
        camera=episode.camera,
        T_base_camera=episode.T_base_camera,
        T_odom_base=T_odom_base,
    )


def _thing(thing: TrueObject) -> TrueThing:
    left, top, width, height = thing.roi
    visible = thing.state is ObjectState.VISIBLE
    corners = (left, top, left + width, top + height) if visible else (np.nan,) * 4
    return TrueThing(
        thing.id,
        thing.label,
        int(thing.state),
        thing.moving,
        thing.T_map_object,
        thing.size,
        thing.velocity,
        thing.pixels,
        np.array(corners, np.float32),
    )


def _change(event: TrueEvent) -> TrueChange:
    return TrueChange(
        event.stamp_ns,
        int(event.type),
        event.object_id,
        event.label,
        event.T_from,
        event.T_to,
        event.agent_id,
        event.agent_label,
        event.path_name,
    )


# Rows -------------------------------------------------------------------------------------------


def _run(source: str, episode: Episode, pose: str, record: EventRecord) -> MemoryRun:
    events, plain, remembered = record.events(), record.events(plain=True), record.map()
    scenario = episode.scenario.name
    row: dict[str, str | int | float | bool | None] = {
        "scenario": scenario,
        "seed": episode.seed,
        "method": source,
        "odometry": True,
        "pose": pose,
        **_figures(events, plain),
        "map_f1": _rounded(remembered.f1),
        "map_position_m": _rounded(remembered.position_m),
        "duplicates": remembered.duplicates,
        "story": _story(scenario, events),
    }
    return MemoryRun(source, scenario, episode.seed, events, plain, row, episode.stamp_ns(0))


def _sum(source: str, runs: Sequence[MemoryRun]) -> Row:
    total = sum((r.events for r in runs), EventScore())
    plain = sum((r.plain for r in runs), EventScore())
    stories = [bool(r.row["story"]) for r in runs if r.row["story"] is not None]
    row: dict[str, str | int | float | bool | None] = {
        "scenario": "all",
        "seed": None,
        "method": source,
        "odometry": True,
        "pose": runs[0].row["pose"] if runs else None,
        **_figures(total, plain),
        "story_share": sum(stories) / len(stories) if stories else None,
    }
    for kind in EventType:
        part = EventScore(
            [p for p in total.right if p[1].type is kind],
            [e for e in total.false if e.type is kind],
            [e for e in total.missed if e.type is kind],
            [e for e in total.late if e.type is kind],
        )
        row[f"{kind.name.lower()}_f1"] = _rounded(part.f1)
    return row


def _figures(events: EventScore, plain: EventScore) -> dict[str, str | int | float | bool | None]:
    return {
        "events": len(events.right) + len(events.missed),
        "right": len(events.right),
        "false": len(events.false),
        "missed": len(events.missed),
        "precision": _rounded(events.precision),
        "recall": _rounded(events.recall),
        "f1": _rounded(events.f1),
        "plain_precision": _rounded(plain.precision),
        "plain_recall": _rounded(plain.recall),
        "plain_false": len(plain.false),
        "plain_late": len(plain.late),
        "latency_s_p50": _rounded(events.latency_s),
        "agents_right": _rounded(events.agents_right),
        "confidence_error": _rounded(plain.confidence_error),
    }


def _story(scenario: str, events: EventScore) -> bool | None:
    """Return whether what a scenario is about was told right, None where it has no one story."""
    if scenario == "static_loop":
        nothing_else = all(e.type is EventType.APPEARED for e in events.false)
        return bool(events.right) and nothing_else
    if scenario == "forklift_moves_pallet":
        moves = [p for p in events.right if p[1].type is EventType.MOVED and _is_pallet(p[1])]
        return len(moves) == 1 and _exactly(*moves[0])
    if scenario == "path_clears":
        kinds = (EventType.PATH_BLOCKED, EventType.PATH_CLEARED)
        blocked, cleared = ([b for _, b in events.right if b.type is kind] for kind in kinds)
        false = [e for e in events.false if e.type in kinds]
        # The truck and its load leave together: which of both was last is a matter of luck.
        there = {b.path for b in blocked if _is_pallet(b)}
        return bool(there & {b.path for b in cleared}) and not false
    return None


def _is_pallet(happening: Happening) -> bool:
    return happening.label == "pallet"


def _exactly(told: Happening, true: Happening) -> bool:
    """Return whether a move has the right agent and both places to PALLET_M."""
    ends = ((told.start, true.start), (told.end, true.end))
    return told.agent == true.agent and all(np.linalg.norm(a - b) <= PALLET_M for a, b in ends)


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 4)


def _mistakes(run: MemoryRun) -> Iterator[str]:
    """Yield a line for every event that was told wrongly or not at all, under a heading."""
    yield f"{run.scenario} {run.seed}, by {run.source}"
    late = {(e.stamp_ns, e.type, e.thing, e.path) for e in run.plain.late}
    for kind, listed in (("false", run.events.false), ("missed", run.events.missed)):
        for e in sorted(listed, key=lambda e: e.stamp_ns):
            is_late = kind == "false" and (e.stamp_ns, e.type, e.thing, e.path) in late
            what = "late" if is_late else kind
            seconds = (e.stamp_ns - run.start_ns) / NANOSECONDS
            yield (
                f"    {what:6} {seconds:7.2f} s {e.type.name:14} {e.thing} "
                f"{e.label} {e.path} at {e.place.round(2)}, {e.away_m:.1f} m away"
            )
