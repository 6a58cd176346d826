# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures to look at: every scenario in a row of frames, or one scenario under many seeds.

python -m pervformer_ros.sim.contact_sheet out/sheets
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.sim.episode import TICKS_PER_FRAME, Episode
from pervformer_ros.sim.scenario import names
from pervformer_ros.sim.sensors import Sensor, draw_sensor
from pervformer_ros.sim.truth import MIN_PIXELS

FRAMES_PER_ROW = 4
ROWS = 2
SEEDS = range(10)
WHITE, YELLOW = (255, 255, 255), (255, 220, 60)


def scenario_sheet(scenario: str, seed: int, boxes: bool = False) -> NDArray[np.uint8]:
    """Return frames of a scenario, evenly spread in time, with the time in their corners."""
    episode = Episode(scenario, seed)
    count = FRAMES_PER_ROW * ROWS
    frames = np.linspace(0, len(episode) - 1, count).round().astype(int).tolist()
    pictures = [_picture(episode, frame, boxes) for frame in frames]
    for picture, frame in zip(pictures, frames, strict=True):
        _write(picture, f"{scenario} {seed}: {frame / 15:.0f} s")
    return _grid(pictures, FRAMES_PER_ROW)


def seed_sheet(scenario: str, seeds: Sequence[int]) -> NDArray[np.uint8]:
    """Return one frame of a scenario under each seed."""
    pictures = []
    for seed in seeds:
        episode = Episode(scenario, seed)
        picture = _picture(episode, len(episode) // 11, boxes=False)
        _write(picture, f"seed {seed}")
        pictures.append(picture)
    return _grid(pictures, 5)


def main() -> None:
    """Write one sheet per scenario and one of ten seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument(
        "--scenarios", default=",".join(names(practice=True)), help="comma-separated"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--boxes", action="store_true", help="draw what the ground truth says")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for scenario in arguments.scenarios.split(","):
        sheet = scenario_sheet(scenario, arguments.seed, arguments.boxes)
        _save(arguments.out / f"{scenario}.png", sheet)
    _save(arguments.out / "ten_seeds.png", seed_sheet("static_loop", SEEDS))


def _picture(episode: Episode, frame: int, boxes: bool) -> NDArray[np.uint8]:
    """Return a frame as the camera would deliver it, its exposure settled."""
    tick = frame * TICKS_PER_FRAME
    render = episode.render(tick)
    sensor = Sensor(draw_sensor(episode.seed), episode.camera, episode.seed)
    rgb = sensor.colour(render, frame, cover=float(episode.log.cover[tick]))
    if boxes:
        for body in episode.bodies[1:]:
            rows, columns = np.nonzero(render.instance == body.id)
            if len(rows) >= MIN_PIXELS:
                low = int(columns.min()), int(rows.min())
                high = int(columns.max()), int(rows.max())
                cv2.rectangle(rgb, low, high, YELLOW, 1)
                _write(rgb, f"{body.kind.label} {body.id}", (low[0] + 2, low[1] + 10), 0.35)
    return rgb


def _write(
    picture: NDArray[np.uint8], text: str, at: tuple[int, int] = (5, 15), size: float = 0.45
) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x, y = at
    strip = picture[max(y - height - 3, 0) : y + 4, max(x - 2, 0) : x + width + 2]
    strip //= 3  # so that the text is read over anything
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, WHITE, 1)


def _grid(pictures: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    rows = [np.hstack(list(pictures[i : i + columns])) for i in range(0, len(pictures), columns)]
    return np.vstack(rows)


def _save(path: Path, rgb: NDArray[np.uint8]) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} cannot be written")
    print(path)


if __name__ == "__main__":
    main()
