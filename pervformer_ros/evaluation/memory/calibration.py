# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What beliefs about events are worth: fits the curve of pervformer_ros/memory/belief.py.

python -m pervformer_ros.evaluation.memory.calibration out/dev/confidences.json WEIGHTS.safetensors

reads what `pervformer evaluate memory --development --sources model --out out/dev` wrote with these
weights: every event that was told, its confidence, whether it was true, in time or late, and the
curve that was in force. It writes the curve that fits best into their card.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from pervformer_ros.evaluation.memory.scoring import EventScore
from pervformer_ros.files import write_whole
from pervformer_ros.geometry import Array
from pervformer_ros.memory import EventType
from pervformer_ros.memory.belief import Calibration, log_odds
from pervformer_ros.model import card_path, read_card

# How much is known before any event is seen: offsets are of about this size, the slope near one.
OFFSET_SIGMA, SLOPE_SIGMA = 1.0, 0.5
# What is believed more is not told with less confidence, whatever a few events seem to say.
LEAST_SLOPE = 0.05

Verdict = tuple[str, float, bool]  # type, confidence as it was told, whether it was true


def write_confidences(score: EventScore, used: Calibration, path: Path) -> None:
    """Write every event that was told, what was told late as true, and what it was told with."""
    told = [[a.type.name, round(a.confidence, 5), true] for a, true in score.verdicts]
    content = {"event_confidence": used.to_json(), "told": told}
    write_whole(path, json.dumps(content).encode())


def read_confidences(path: Path) -> tuple[list[Verdict], Calibration]:
    """Return the events of a file, and what made confidences of beliefs then.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it does not tell both.
    """
    content = json.loads(path.read_text())
    try:
        used = Calibration.of(content["event_confidence"])
        return [(str(kind), float(p), bool(true)) for kind, p, true in content["told"]], used
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} does not say with which curve its events were told: write it again with "
            "`pervformer evaluate memory`"
        ) from error


def fit(rows: Sequence[Verdict], used: Calibration) -> Calibration:
    """Return the logistic curve that rises and fits best (Platt), with a prior.

    Args:
        rows: events that were told.
        used: what made confidences of beliefs then.

    Raises:
        ValueError: if there is no row.
    """
    if not rows:
        raise ValueError("no event was told: nothing can be fitted")
    kinds = [EventType[name] for name, _, _ in rows]
    present = sorted(set(kinds))
    column = np.array([present.index(kind) for kind in kinds])
    true = np.array([row[2] for row in rows], float)
    told = np.array([log_odds(row[1]) for row in rows])
    belief = (told - [used.offsets.get(kind, 0.0) for kind in kinds]) / used.slope

    def loss(parameters: Array) -> float:
        z = parameters[1:][column] + parameters[0] * belief
        surprise = np.logaddexp(0.0, z) - true * z
        prior = ((parameters[0] - 1.0) / SLOPE_SIGMA) ** 2
        return float(surprise.sum() + 0.5 * (prior + np.sum((parameters[1:] / OFFSET_SIGMA) ** 2)))

    bounds = [(LEAST_SLOPE, None), *[(None, None)] * len(present)]
    best = minimize(loss, np.array([1.0, *np.zeros(len(present))]), bounds=bounds).x
    return Calibration(float(best[0]), dict(zip(present, best[1:].tolist(), strict=True)))


def main() -> None:
    """Write the curve for the events of a file into the card of the weights that told them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("confidences", type=Path, help="confidences.json of evaluate memory")
    parser.add_argument("weights", type=Path, help="weights whose card is written")
    given = parser.parse_args()
    (rows, used), card = read_confidences(given.confidences), read_card(given.weights)
    found = fit(rows, used)
    card["event_confidence"] = {
        "events": len(rows),
        "true": sum(row[2] for row in rows),
        **found.to_json(),
    }
    write_whole(card_path(given.weights), (json.dumps(card, indent=2) + "\n").encode())
    print(json.dumps(card["event_confidence"], indent=2))


if __name__ == "__main__":
    main()
