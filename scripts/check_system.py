# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sees to it that the system has what a virtual environment cannot bring; standard library only.

What is missing is installed by apt when root runs this; anyone else is told the command. Each
requirement is tried rather than looked up, so that any system which has it will do.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

PYTHON = "python{}.{}".format(*sys.version_info[:2])


def has_library(name):
    """Tell whether the loader finds a shared library."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def missing_packages():
    """Return the Debian packages for whatever is not there."""
    present = {
        f"{PYTHON}-venv": all(map(importlib.util.find_spec, ("venv", "ensurepip"))),
        # the messages are compiled
        f"{PYTHON}-dev": Path(sysconfig.get_path("include"), "Python.h").exists(),
        "gcc": shutil.which("cc"),
        "g++": shutil.which("c++"),
        # Open3D's wheel brings all but these
        "libegl1": has_library("libEGL.so.1"),
        "libgl1": has_library("libGL.so.1"),
        "libgomp1": has_library("libgomp.so.1"),
        "libusb-1.0-0": has_library("libusb-1.0.so.0"),
    }
    return [package for package, there in present.items() if not there]


def main():
    """Install what is missing, or say how."""
    if not (3, 10) <= sys.version_info < (3, 14):
        sys.exit(f"{PYTHON} will not do, 3.10 to 3.13 will: make setup PYTHON=python3.12")
    missing = missing_packages()
    if not missing:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"The system lacks {', '.join(missing)}. Install:\n  sudo {' '.join(install)}")
    subprocess.run(["apt-get", "update", "--quiet"], check=True)
    subprocess.run(install, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    importlib.invalidate_caches()
    if missing := missing_packages():
        sys.exit(f"Still missing after installing: {', '.join(missing)}")


if __name__ == "__main__":
    main()
