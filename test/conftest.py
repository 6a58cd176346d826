# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from hypothesis import settings

settings.register_profile("pervformer", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("pervformer")
