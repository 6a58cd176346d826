# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Replay of a bag into rerun: into a window, or into a file for one elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import rerun as rr

from pervformer_ros.bags.reader import BagReader
from pervformer_ros.evaluation.replay import Replay, replay
from pervformer_ros.memory import corridors_of_bag
from pervformer_ros.pipeline import PipelineConfig
from pervformer_ros.viewer.layout import layout
from pervformer_ros.viewer.scene import Scene
from pervformer_ros.viewer.screen import ViewerError, require_screen

APPLICATION = "pervformer"


def view(
    bag: Path,
    reader: BagReader,
    config: PipelineConfig,
    save: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Replay:
    """Run a bag through the line, as `replay` does, and show what it sees and remembers.

    Args:
        bag: what the recording is called; its corridors are watched where `config` names none.
        reader: the bag, not yet opened.
        config: of the line.
        save: a file (.rrd) to write; None opens a window.
        progress: called with (images read, images in all).

    Raises:
        BagError: as `replay`; a file that was there stays.
        ViewerError: if there is no screen, the viewer does not start or the file cannot be written.
    """
    config = replace(config, paths=config.paths or corridors_of_bag(bag))
    with reader:  # what is wrong with the bag is told before what is with the screen
        pass
    stream = rr.RecordingStream(APPLICATION)
    stream.send_recording_name(bag.name)
    with _window(stream) if save is None else _file(stream, save):
        scene = Scene(stream, config.paths)
        result = replay(bag, reader, config, progress=progress, hear=scene.hear)
        scene.finish(result.slam)
        stream.flush()
        stream.disconnect()
    return result


@contextmanager
def _window(stream: rr.RecordingStream) -> Iterator[None]:
    """Show what is written to a stream."""
    require_screen()
    try:
        stream.spawn(default_blueprint=layout())
    except (RuntimeError, OSError) as error:
        raise ViewerError(f"rerun's viewer does not start: {error}; give --save FILE.rrd") from None
    yield


@contextmanager
def _file(stream: rr.RecordingStream, path: Path) -> Iterator[None]:
    """Write a stream to a file, which takes its name when all is well."""
    if path.is_dir():
        raise ViewerError(f"{path} is a folder: give --save FILE.rrd")
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        partial = Path(scratch) / path.name
        try:
            stream.save(partial, default_blueprint=layout())
        except RuntimeError as error:
            raise ViewerError(f"{path} cannot be written: {error}") from error
        yield
        partial.replace(path)
