# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How well the working memory knows what is there and what changed, against what is true."""
