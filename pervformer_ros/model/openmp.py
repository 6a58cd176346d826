# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How torch's CPU threads wait for each other. To be imported before torch.

By default a thread that has done its share spins until the others are done too. On a robot whose
cores are shared with drivers and SLAM it then keeps the very thread it waits for from running, and
a step of 40 ms takes 400. Sleeping costs a little on an idle machine and saves all that on a busy
one. Nothing happens where the variable is set already, or torch has been imported.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
