# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a person sees: lines, tables, progress bars, and errors that say what to do."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

WIDE = 240  # columns of what is written to a file or a pipe, where nothing need be folded

console, errors = Console(), Console(stderr=True)


@contextmanager
def clear_errors(*more: type[Exception]) -> Iterator[None]:
    """Turn the errors a user can do something about into one line and exit code 1."""
    from pervformer_ros.bags.reader import BagError
    from pervformer_ros.bags.writer import BagWriteError
    from pervformer_ros.model import CheckpointError

    known: list[type[Exception]] = [BagError, BagWriteError, CheckpointError, ValueError, OSError]
    try:
        yield
    except (*known, *more) as error:
        line = " ".join(str(error).split())
        if isinstance(error, ModuleNotFoundError):
            line += ": it is one of requirements-dev.txt"
        errors.print(f"[red]error:[/red] {escape(line)}", soft_wrap=True)
        raise typer.Exit(1) from error


def check_folder(path: Path) -> None:
    """Check that results can be written to a folder, there or not, before the work is done.

    Raises:
        OSError: if they cannot.
    """
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is no folder: name another for the results")
    if not os.access(there, os.W_OK):
        raise PermissionError(f"nothing can be written to {there}: name another folder")


def say(line: str, style: str = "") -> None:
    """Print a line as it is: paths and messages may look like markup, and must not be broken."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal; yields a callback that takes (done, total)."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show(table: Table) -> None:
    """Print a table."""
    (console if console.is_terminal else Console(width=WIDE)).print(table)
