# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How PervFormer learns: shards of the simulator become batches, batches become weights."""
