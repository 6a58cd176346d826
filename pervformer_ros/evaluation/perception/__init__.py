# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How well the model and its memory perceive, against what is true of a recording."""
