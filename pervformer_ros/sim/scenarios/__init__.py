# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The scenarios; importing this registers them."""

from pervformer_ros.sim.scenarios import goods, loops, people, practice, shifts

__all__ = ["goods", "loops", "people", "practice", "shifts"]
