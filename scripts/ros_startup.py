# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a virtual environment a ROS 2 prefix whenever its Python starts; a .pth file imports it.

Nothing needs to be sourced: the environment is the first place where ROS looks for packages
(AMENT_PREFIX_PATH) and for shared libraries (LD_LIBRARY_PATH), here and in child processes.

The second is done by the ROS wheels' own start-up hook, which has the loader see LD_LIBRARY_PATH by
executing Python again. It marks that it did so by an environment variable; since every child
inherits the mark, a child of another environment would believe itself ready. So the mark is taken
from what the loader was told, for this environment, and is not handed on.
"""

import contextlib
import os
import sys

MARK = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"
SEARCH_PATHS = ("AMENT_PREFIX_PATH", "LD_LIBRARY_PATH")


def read(variable: str) -> list[str]:
    """Return the folders a search path lists."""
    return [folder for folder in os.environ.get(variable, "").split(os.pathsep) if folder]


def write(variable: str, folders: list[str]) -> None:
    """Set a search path; unset it if empty, as an empty entry would mean the working folder."""
    if folders:
        os.environ[variable] = os.pathsep.join(folders)
    else:
        os.environ.pop(variable, None)


def leave_other_environments() -> None:
    """Drop what a parent process that belongs to another virtual environment left behind."""
    others = [
        prefix
        for prefix in read("AMENT_PREFIX_PATH")
        if prefix != sys.prefix and os.path.isfile(os.path.join(prefix, "pyvenv.cfg"))
    ]
    for variable in SEARCH_PATHS if others else ():
        inside = tuple(os.path.join(prefix, "") for prefix in others)
        write(variable, [f for f in read(variable) if not os.path.join(f, "").startswith(inside)])


def enter_this_environment() -> None:
    """Put this environment first, executing Python again if the loader does not know it yet."""
    prefixes = read("AMENT_PREFIX_PATH")
    if sys.prefix not in prefixes:
        write("AMENT_PREFIX_PATH", [sys.prefix, *prefixes])
    os.environ.pop(MARK, None)
    if os.path.join(sys.prefix, "lib") in read("LD_LIBRARY_PATH"):
        os.environ[MARK] = "1"
    with contextlib.suppress(ImportError):  # while the wheels are not installed yet
        import ros_wheels_bootstrapper  # noqa: F401  (does not return unless marked)
    os.environ.pop(MARK, None)


leave_other_environments()
enter_this_environment()
