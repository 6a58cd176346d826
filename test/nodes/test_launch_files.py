# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The launch files describe nodes that are there.

launch and launch_ros are not on PyPI. In their place stand recorders that take what the real ones
take, so that a launch file runs to its end here, and what it would start can be looked at.
"""

import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
FILES = ("perception", "replay", "warehouse")
NODES: list["Node"] = []


class Action:
    """Anything that is described by its arguments."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs


class Node(Action):
    """launch_ros.actions.Node, as far as these files use it."""

    def __init__(
        self, *, executable, package, name=None, namespace=None, parameters=None, remappings=None,
        arguments=None, output=None, condition=None,
    ):  # fmt: skip
        super().__init__()
        self.executable, self.package, self.namespace = executable, package, namespace
        self.remappings = dict(remappings or [])
        NODES.append(self)


class LaunchConfiguration(Action):
    """What an argument is in a context."""

    def perform(self, context):
        return context.arguments.get(self.args[0], "")


class OpaqueFunction(Action):
    """What is described only once the arguments are known."""

    def run(self, context):
        return self.kwargs["function"](context)


KNOWN = {"Node": Node, "LifecycleNode": Node, "LaunchConfiguration": LaunchConfiguration,
         "OpaqueFunction": OpaqueFunction}  # fmt: skip
MODULES = (
    "launch", "launch.actions", "launch.conditions", "launch.events", "launch.event_handlers",
    "launch.launch_description_sources", "launch.substitutions", "launch_ros",
    "launch_ros.actions", "launch_ros.parameter_descriptions", "launch_ros.substitutions",
)  # fmt: skip


@pytest.fixture
def described(monkeypatch):
    """Return a function that runs a launch file and returns the nodes it describes."""

    def recorder(name: str) -> ModuleType:
        module = ModuleType(name)
        module.__getattr__ = lambda attribute: KNOWN.get(attribute, Action)
        return module

    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, recorder(name))

    def run(name: str, **arguments: str) -> list[Node]:
        NODES.clear()
        spec = importlib.util.spec_from_file_location(
            f"{name}_launch", LAUNCH / f"{name}.launch.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        (actions,) = module.generate_launch_description().args
        context = SimpleNamespace(arguments=arguments)
        for action in actions:
            if isinstance(action, OpaqueFunction):
                action.run(context)
        return list(NODES)

    return run


@pytest.mark.parametrize("name", FILES)
def test_every_node_that_is_launched_is_installed(described, name):
    installed = {script.name for script in entry_points(group="console_scripts")}
    nodes = described(name)
    assert nodes
    for node in nodes:
        if node.package == "pervformer_ros":
            assert node.executable in installed
    assert {node.package for node in nodes} <= {"pervformer_ros", "rviz2"}


def test_perception_launches_both_nodes_and_rviz_in_one_namespace(described):
    nodes = {node.executable: node for node in described("perception", checkpoint="untrained")}
    assert set(nodes) == {"perception_node", "slam_node", "rviz2"}
    assert len({node.namespace for node in nodes.values()}) == 1
    shown = nodes["rviz2"].remappings
    assert shown["/slam/path"] == "slam/path", "in the nodes' namespace"
    assert set(nodes["slam_node"].remappings) <= set(nodes["perception_node"].remappings)
