# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pervformer_ros.geometry import invert
from pervformer_ros.slam import se3

tangents = arrays(float, 6, elements=st.floats(-1.5, 1.5))


@settings(max_examples=50, deadline=None)
@given(tangents)
def test_log_undoes_exp(xi):
    np.testing.assert_allclose(se3.log(se3.exp(xi)), xi, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(tangents, tangents)
def test_adjoint_moves_a_tangent_to_the_other_side(pose, xi):
    T = se3.exp(pose)
    np.testing.assert_allclose(T @ se3.exp(xi), se3.exp(se3.adjoint(T) @ xi) @ T, atol=1e-9)


def test_composed_covariance_is_that_of_sampled_poses():
    rng = np.random.default_rng(0)
    T_first, T_second = se3.exp(rng.normal(size=6)), se3.exp(rng.normal(size=6))
    first, second = se3.isotropic(0.01, 0.03), se3.isotropic(0.02, 0.01)
    mean = T_first @ T_second
    samples = [
        se3.log(invert(mean) @ T_first @ se3.exp(a) @ T_second @ se3.exp(b))
        for a, b in zip(
            rng.multivariate_normal(np.zeros(6), first, 4000),
            rng.multivariate_normal(np.zeros(6), second, 4000),
            strict=True,
        )
    ]
    predicted = se3.compose(first, T_second, second)
    np.testing.assert_allclose(np.cov(np.array(samples).T), predicted, atol=2e-4)
