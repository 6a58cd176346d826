# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How torch's CPU threads wait for each other. To be imported before torch.

A thread that has done its share of an operation spins until the others are done too; GCC's OpenMP
lets it spin for milliseconds before it sleeps. On a robot whose cores are shared with drivers and
SLAM it so keeps from running the very thread that it waits for, and a step of 25 ms takes 300. Some
microseconds of spinning keep the speed of an idle machine and spare a busy one.

Nothing happens where the user has decided, or where torch has been imported before.
"""

import os

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
