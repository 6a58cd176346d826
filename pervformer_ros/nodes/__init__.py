# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ROS 2 adapters: message in, Frame out; result in, messages out. Only here is rclpy imported."""
