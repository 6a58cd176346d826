# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Perception with memory for ROS 2: a streaming video transformer and a drift-aware SLAM."""

import os

# How CPU threads wait for each other. One that has done its share of an operation spins until the
# others are done; GCC's OpenMP lets it spin for milliseconds. On a robot, whose cores drivers and
# SLAM share, it so keeps from running the very thread it waits for, and a step of 25 ms takes 300.
# Microseconds keep the speed of an idle machine and spare a busy one. OpenMP reads this when torch
# is loaded, which is after this package is.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
