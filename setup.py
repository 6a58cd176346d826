# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from setuptools import find_packages, setup

NAME = "pervformer_ros"
SHARE = Path("share") / NAME


def data_files():
    """List what ROS looks for under share/: the package's index entry and its data folders."""
    files = {
        Path("share/ament_index/resource_index/packages"): [f"resource/{NAME}"],
        SHARE: ["package.xml"],
    }
    for folder in ("launch", "config", "models"):
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                files.setdefault(SHARE / path.parent, []).append(str(path))
    return [(str(target), sources) for target, sources in files.items()]


setup(
    name=NAME,
    version="0.1.0",
    description="A robot's perception with memory: objects, events and steady features from RGB-D.",
    author="The pervformer_ros authors",
    maintainer="The pervformer_ros authors",
    maintainer_email="pervformer_ros@users.noreply.github.com",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed", "**/*.jinja"]},
    data_files=data_files(),
    install_requires=[
        "torch>=2.4",
        "numpy>=1.21",
        "scipy>=1.8",
        "opencv-python-headless>=4.5",
        "gtsam>=4.2",
        "open3d>=0.18",
        "rosbags>=0.10",
        "rosbags-image>=0.10",
        "evo>=1.26",
        "safetensors>=0.4",
        "typer>=0.9",
        "rich>=12",
        "pyyaml>=5.4",
        "jinja2>=3.0",
        "matplotlib>=3.5",
        "psutil>=5.9",
    ],
    extras_require={
        "evaluate": [
            "transformers>=4.56",
            "torchmetrics>=1.9",
            "pycocotools>=2.0.11",
            "trackeval>=1.3",  # asks for opencv-python: install scripts/opencv_python before it
            "tabulate>=0.10",
        ],
        "train": ["tensorboard>=2.21"],
        "view": ["rerun-sdk>=0.39"],
    },
    entry_points={
        "console_scripts": [
            "pervformer = pervformer_ros.cli:main",
            "perception_node = pervformer_ros.nodes.perception:main",
            "slam_node = pervformer_ros.nodes.slam:main",
            "bag_player = pervformer_ros.nodes.bag_player:main",
            "warehouse = pervformer_ros.nodes.warehouse:main",
        ],
    },
)
