# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import yaml

from pervformer_ros.geometry import make_rotation
from pervformer_ros.memory import Corridor, corridors_of_bag, read_corridors

AISLE = {"name": "aisle_a", "centre_line": [[1.0, 2.0], [1.0, 9.0]], "half_width": 0.6}


def test_corridors_are_read_from_yaml(tmp_path):
    path = tmp_path / "paths.yaml"
    path.write_text(yaml.safe_dump({"paths": [AISLE, {**AISLE, "name": "b"}]}))
    one, other = read_corridors(path)
    assert (one.name, one.half_width, other.name) == ("aisle_a", 0.6, "b")
    np.testing.assert_array_equal(one.centre_line, AISLE["centre_line"])


@pytest.mark.parametrize("content", ["", "paths: 3", "paths: [{name: x}]", "{"])
def test_a_file_that_holds_no_corridors_is_refused(tmp_path, content):
    path = tmp_path / "paths.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"paths\.yaml"):
        read_corridors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read paths from .*no\.yaml"):
        read_corridors(tmp_path / "no.yaml")


def test_a_simulated_bag_names_its_corridors_where_odom_starts(tmp_path):
    T_map_odom = make_rotation([0, 0, np.pi / 2])
    T_map_odom[:2, 3] = 1.0, 2.0
    custom = {"paths": json.dumps([AISLE]), "T_map_odom": json.dumps(T_map_odom.tolist())}
    notes = {"rosbag2_bagfile_information": {"custom_data": custom}}
    (tmp_path / "metadata.yaml").write_text(yaml.safe_dump(notes))
    (aisle,) = corridors_of_bag(tmp_path)
    np.testing.assert_allclose(aisle.centre_line, [[0, 0], [7, 0]], atol=1e-9)


def test_a_bag_of_the_real_world_names_none(tmp_path):
    assert corridors_of_bag(tmp_path) == ()
    (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 9}")
    assert corridors_of_bag(tmp_path) == ()


def test_points_are_inside_by_their_distance_to_the_edge():
    aisle = Corridor("a", np.array([[0.0, 0.0], [4.0, 0.0]]), 0.5)
    points = np.array([[2.0, 0.0], [2.0, 0.4], [2.0, 0.7], [-1.0, 0.0], [0.2, 0.0]])
    np.testing.assert_allclose(aisle.depth_inside(points), [0.5, 0.1, -0.2, -1.0, 0.2], atol=1e-9)


def test_overlap_is_how_far_a_thing_would_have_to_shift_to_leave_the_strip():
    aisle = Corridor("a", np.array([[0.0, 0.0], [9.0, 0.0]]), 0.5)

    def square(x, y, side):
        return np.array([(x + i * side / 2, y + j * side / 2) for i in (-1, 1) for j in (-1, 1)])

    assert aisle.overlap(square(4, 0, 2.0)) == pytest.approx(1.5), "wider than the strip"
    assert aisle.overlap(square(4, 0.6, 0.4)) == pytest.approx(0.1)
    assert aisle.overlap(square(4, 1.2, 0.4)) == pytest.approx(-0.5)
    assert aisle.overlap(square(0, 0, 0.4)) == pytest.approx(0.2), "at its end"
    assert aisle.overlap(square(-1, 0, 0.4)) == pytest.approx(-0.8)
