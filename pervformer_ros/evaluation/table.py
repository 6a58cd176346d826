# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found: flat rows, as table.json and on the terminal."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from pervformer_ros.files import write_whole

SCHEMA = 1

Row = Mapping[str, str | int | float | bool | None]


def write_table(suite: str, rows: Sequence[Row], out: Path) -> Path:
    """Write DIR/table.json and return its path; null = the row cannot tell.

    Args:
        suite: name of the evaluation.
        rows: flat; each says what it is about (scenario, seed, method, variant …) and its figures.
        out: folder, made if missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "table.json"
    content = {"schema": SCHEMA, "suite": suite, "rows": [dict(row) for row in rows]}
    write_whole(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    return path


def as_table(title: str, rows: Sequence[Row]) -> Table:
    """Return the rows for the terminal: a column for every key that some row has a value for."""
    columns = list(
        dict.fromkeys(key for row in rows for key, value in row.items() if value is not None)
    )
    table = Table(title=title)
    for column in columns:
        numeric = all(not isinstance(row.get(column), str) for row in rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_shown(row.get(column)) for column in columns))
    return table


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
