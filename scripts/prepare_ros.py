# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Turns the environment whose Python runs this into a ROS 2 installation to build on and to run.

Doing it twice does no harm.
"""

import re
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy

STARTUP = "_pervformer_ros_startup"  # .pth files run in order of name: before the ROS wheels' own


def rewrite_exports(prefix: Path) -> None:
    """Point the wheels' CMake exports to this Python; they name the one they were built with."""
    local = {
        r"/opt/python/[^;\"]*/numpy/(?:_core|core)/include": numpy.get_include(),
        r"/opt/python/[^;\"]*/include/python3\.\d+": sysconfig.get_path("include"),
    }
    for export in prefix.glob("share/*/cmake/*Export.cmake"):
        text = original = export.read_text()
        for pattern, folder in local.items():
            text = re.sub(pattern, folder, text)
        if text != original:
            export.write_text(text)


def install_startup() -> None:
    """Have every process of this Python find ROS; ros_startup.py says how."""
    site = Path(sysconfig.get_path("purelib"))
    shutil.copyfile(Path(__file__).with_name("ros_startup.py"), site / f"{STARTUP}.py")
    (site / f"{STARTUP}.pth").write_text(f"import {STARTUP}\n")


if __name__ == "__main__":
    rewrite_exports(Path(sys.prefix))
    install_startup()
