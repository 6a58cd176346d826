# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: `pervformer …`."""

import typer

from pervformer_ros.cli import evaluate, learn, run

app = typer.Typer(
    help="Perception with memory for ROS 2.", no_args_is_help=True, pretty_exceptions_enable=False
)
commands = (run.replay, run.live, run.view, run.simulate, run.demo)
for command in (*commands, learn.train, learn.average, learn.import_trecvit):
    app.command()(command)
app.add_typer(evaluate.app, name="evaluate")


def main() -> None:
    """Run the command line."""
    app()
