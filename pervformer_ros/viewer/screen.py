# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether this machine can show anything; asked before a model is loaded."""

import os
import sys
from importlib.util import find_spec


class ViewerError(RuntimeError):
    """Nothing can be shown; the text says what to do instead."""


def require_rerun() -> None:
    """Raise ViewerError where rerun is not installed."""
    if find_spec("rerun_bindings") is None:
        raise ViewerError(
            "rerun is not installed: pip install -c constraints.txt rerun-sdk "
            "(the package `rerun` is something else)"
        )


def require_screen() -> None:
    """Raise ViewerError where no window can be opened, as far as the environment tells."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in screens):
        raise ViewerError(
            "there is no screen (neither DISPLAY nor WAYLAND_DISPLAY is set): "
            "give --save FILE.rrd and open it with `rerun FILE.rrd` where there is one"
        )
