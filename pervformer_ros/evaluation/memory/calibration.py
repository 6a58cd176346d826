# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What beliefs about events are worth: fits the curve of pervformer_ros/memory/belief.py.

python -m pervformer_ros.evaluation.memory.calibration out/dev/confidences.json

reads what `pervformer evaluate memory --development --out out/dev` wrote: every event that was
told, its confidence, and whether it was true, in time or late. It prints the constants that would
have fitted best.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from pervformer_ros.evaluation.memory.scoring import EventScore
from pervformer_ros.geometry import Array
from pervformer_ros.memory import EventType
from pervformer_ros.memory.belief import OFFSETS, SLOPE, log_odds

# How much is known before any event is seen: offsets are of about this size, the slope near one.
OFFSET_SIGMA, SLOPE_SIGMA = 1.0, 0.5


def write_confidences(score: EventScore, path: Path) -> None:
    """Write [type, confidence, true] of every event that was told; what was told late is true."""
    late = {id(a) for a in score.late}
    told = [(a, True) for a, _ in score.right] + [(a, id(a) in late) for a in score.false]
    rows = [[a.type.name, round(a.confidence, 5), true] for a, true in told]
    path.write_text(json.dumps(rows))


def fit(rows: Sequence[tuple[str, float, bool]]) -> tuple[float, dict[EventType, float]]:
    """Return slope and offsets of the logistic curve that fits best (Platt), with a prior.

    Args:
        rows: type, confidence as it was told, whether it was true.

    Raises:
        ValueError: if there is no row.
    """
    if not rows:
        raise ValueError("no event was told: nothing can be fitted")
    kinds = [EventType[name] for name, _, _ in rows]
    present = sorted(set(kinds))
    column = np.array([present.index(kind) for kind in kinds])
    true = np.array([row[2] for row in rows], float)
    # What was believed before the curve that was in use.
    x = np.array(
        [
            (log_odds(c) - OFFSETS.get(k, 0.0)) / SLOPE
            for k, (_, c, _) in zip(kinds, rows, strict=True)
        ]
    )

    def loss(parameters: Array) -> float:
        z = parameters[1:][column] + parameters[0] * x
        surprise = np.logaddexp(0.0, z) - true * z
        prior = ((parameters[0] - 1.0) / SLOPE_SIGMA) ** 2
        return float(surprise.sum() + 0.5 * (prior + np.sum((parameters[1:] / OFFSET_SIGMA) ** 2)))

    best = minimize(loss, np.array([1.0, *np.zeros(len(present))])).x
    return float(best[0]), dict(zip(present, best[1:].tolist(), strict=True))


def main() -> None:
    """Print the constants for the events of a file."""
    rows = json.loads(Path(sys.argv[1]).read_text())
    slope, offsets = fit(rows)
    print(f"# of {len(rows)} events, {sum(row[2] for row in rows)} true")
    print(f"SLOPE = {slope:.2f}")
    for kind, offset in offsets.items():
        print(f"    EventType.{kind.name}: {offset:.2f},")


if __name__ == "__main__":
    main()
