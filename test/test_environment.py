# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `make setup` promises: a ROS 2 installation that needs no sourcing and disturbs nobody."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"

pytestmark = pytest.mark.skipif(
    Path(sys.prefix) != VENV, reason="only where the environment is the one `make setup` makes"
)


def run(*command, **environment):
    """Return what a command prints, run elsewhere and with nothing in its environment but this."""
    environment = {"HOME": "/tmp", "PATH": "/usr/bin:/bin", **environment}
    done = subprocess.run(
        [str(word) for word in command], env=environment, cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_share_directory_is_found_without_activation():
    share = run(
        PYTHON,
        "-c",
        "from ament_index_python import get_package_share_directory as share;"
        "print(share('pervformer_ros'))",
    )
    assert Path(share) == VENV / "share" / "pervformer_ros"
    assert (Path(share) / "package.xml").is_file()


@pytest.mark.parametrize("folder", ["launch", "config", "models"])
def test_shared_data_is_as_in_the_sources(folder):
    def contents(base):
        files = (path for path in (base / folder).rglob("*") if path.is_file())
        return {f.relative_to(base): f.read_bytes() for f in files if f.suffix != ".pyc"}

    assert contents(VENV / "share" / "pervformer_ros") == contents(ROOT)


def test_messages_can_be_imported_and_sent_without_activation():
    size = run(
        PYTHON,
        "-c",
        "from rclpy.serialization import serialize_message;"
        "from pervformer_msgs.msg import TrackedObjectArray;"
        "from pervformer_msgs.srv import QueryMemory, LoadMemory, SaveMemory;"
        "print(len(serialize_message(TrackedObjectArray())))",
    )
    assert int(size) > 0


@pytest.mark.parametrize("name", ["pervformer", "perception_node", "slam_node", "bag_player"])
def test_command_is_installed(name):
    assert os.access(VENV / "bin" / name, os.X_OK)


def test_second_setup_does_nothing():
    run("make", "--question", "-C", ROOT, "setup")


def test_there_is_one_opencv():
    assert metadata.packages_distributions()["cv2"] == ["opencv-python-headless"]


def test_installed_versions_agree_with_each_other():
    run(PYTHON, "-m", "pip", "check")


@pytest.mark.parametrize("first", ["rclpy", "torch", "gtsam", "open3d", "cv2"])
def test_compiled_libraries_share_a_process(first):
    """Whichever comes first loads its own OpenMP or C++ library; the others live with it."""
    modules = dict.fromkeys([first, "cv2", "scipy.optimize", "open3d", "gtsam", "torch", "rclpy"])
    run(
        PYTHON,
        "-c",
        f"import {', '.join(modules)};"
        "torch.ones(64, 64) @ torch.ones(64, 64);"
        "gtsam.Pose3().matrix();"
        "open3d.t.geometry.RaycastingScene();"
        "rclpy.init(); rclpy.shutdown()",
    )


VARIABLES = ["AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"]
PRINT = f"import json, os; print(json.dumps([os.environ.get(v, '') for v in {VARIABLES}]))"


def in_child(python):
    """Return a program that prints the variables of a child process."""
    return f"import subprocess; subprocess.run([{str(python)!r}, '-c', {PRINT!r}])"


def test_child_process_searches_where_its_parent_does():
    own, child = run(
        PYTHON, "-c", f"{PRINT}; import sys; sys.stdout.flush(); {in_child(PYTHON)}"
    ).splitlines()
    assert child == own
    prefixes, libraries, _ = json.loads(own)
    assert prefixes == str(VENV)
    assert str(VENV / "lib") in libraries.split(":")


def test_child_process_of_another_environment_searches_there(tmp_path):
    other = tmp_path / "other"
    run(PYTHON, "-m", "venv", "--without-pip", other)
    site = next(other.glob("lib/python*/site-packages"))
    startup = ROOT / "scripts" / "ros_startup.py"
    (site / "ros_startup.py").write_text(startup.read_text())
    (site / "ros_startup.pth").write_text("import ros_startup\n")

    prefixes, libraries, mark = json.loads(run(PYTHON, "-c", in_child(other / "bin" / "python")))
    assert prefixes == str(other)
    assert str(VENV) not in libraries
    assert not mark


def test_workspaces_before_ours_stay_on_the_search_path():
    prefixes, *_ = json.loads(run(PYTHON, "-c", PRINT, AMENT_PREFIX_PATH="/ws/install"))
    assert prefixes == f"{VENV}:/ws/install"


def test_package_builds_in_a_ros_workspace(tmp_path):
    """As `colcon build` does it; the messages were built by CMake before."""
    run(
        VENV / "bin" / "colcon",
        f"--log-base={tmp_path / 'log'}",
        "build",
        f"--base-paths={ROOT}",
        f"--build-base={tmp_path / 'build'}",
        f"--install-base={tmp_path / 'install'}",
        PATH=f"{VENV / 'bin'}:/usr/bin:/bin",
        CMAKE_PREFIX_PATH=str(VENV),
    )
    installed = tmp_path / "install" / "pervformer_ros"
    node = installed / "lib" / "pervformer_ros" / "perception_node"
    assert os.access(node, os.X_OK)
    # Whichever Python is active when it is launched: that of a virtual environment, if one is.
    assert node.read_text().startswith("#!/usr/bin/env python3\n")
    assert (installed / "share" / "pervformer_ros" / "launch").is_dir()
