# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Perception with memory for ROS 2: a streaming video transformer and a drift-aware SLAM."""
