# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m pervformer_ros.cli`, for torchrun and wherever the command is not on the path."""

from pervformer_ros.cli import main

main()
