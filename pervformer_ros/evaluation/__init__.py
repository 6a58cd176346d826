# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation: bags replayed through the line, measured and reported."""
