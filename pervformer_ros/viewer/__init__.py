# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`pervformer view`: what the line sees, remembers and tells, in rerun."""
