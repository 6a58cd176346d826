# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What SLAM drifts by, with PervFormer's features and masks and without."""
