# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Perception with memory for ROS 2: a streaming video transformer and a drift-aware SLAM."""

import os

# A robot's cores are shared by many processes. OpenMP threads that spin while they wait for each
# other then hold up everybody, themselves most: frames have been seen to take 60 times as long.
# OpenMP reads this when torch is loaded, which is after this package is.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
