# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from slam_room import (
    BITS,
    CAMERA,
    FRAME_NS,
    T_BASE_CAMERA,
    Run,
    Sensor,
    Thing,
    ate,
    drive,
    make_features,
    no_features,
)

from pervformer_ros.frame import Fault, InputError
from pervformer_ros.geometry import invert, make_rotation, make_transform
from pervformer_ros.slam import EdgeKind, SlamBackend, SlamConfig, TrackingState

COUNT = 100


@pytest.fixture(scope="module")
def room():
    return Run.record(COUNT)


@pytest.fixture(scope="module")
def driven(room):
    """The plain drive, played once for all tests that only look at it."""
    return fresh(room).play()


def fresh(room, features=None):
    return Run(room.truth, room.odometry, list(features or room.features))


def replaced(room, frames, make):
    """The run with the features of these frames made anew by `make(old)`."""
    return fresh(room, [make(f) if i in frames else f for i, f in enumerate(room.features)])


def states(run):
    return [update.state for update in run.updates]


def final_ate(run):
    return ate(run.backend.trajectory().poses, run.truth)


def online_ate(run):
    return ate(run.backend.online_trajectory().poses, run.truth)


def test_slam_drifts_far_less_than_odometry(driven):
    drifted = ate(driven.odometry, driven.truth)
    assert drifted > 0.25
    assert final_ate(driven) < 0.15 * drifted
    assert online_ate(driven) < 0.15 * drifted
    assert set(states(driven)) == {TrackingState.VISUAL}


def test_slam_needs_no_odometry(room):
    run = fresh(room).play(odometry=False)
    assert online_ate(run) < 0.06
    assert set(states(run)) == {TrackingState.VISUAL}
    assert all(edge.kind == EdgeKind.VISUAL for edge in run.backend.graph().edges)


def test_odometry_that_knows_the_vertical_tells_heights(driven, room):
    def levels(run):
        return [edge for edge in run.backend.graph().edges if edge.kind is EdgeKind.LEVEL]

    edges = levels(driven)
    assert [edge.second for edge in edges] == list(range(1, len(driven.backend.graph().poses)))
    assert all(edge.covariance[5, 5] < 0.01**2 < 1.0 < edge.covariance[3, 3] for edge in edges)
    assert not levels(fresh(room).play(config=SlamConfig(odometry_tilt=None)))


def test_every_frame_has_one_pose_in_order(driven):
    stamps = [features.stamp_ns for features in driven.features]
    online, final = driven.backend.online_trajectory(), driven.backend.trajectory()
    np.testing.assert_array_equal(online.stamps_ns, stamps)
    np.testing.assert_array_equal(final.stamps_ns, stamps)
    np.testing.assert_array_equal(online.poses, [update.T_map_base for update in driven.updates])
    for poses in (online.poses, final.poses):
        rotations = poses[:, :3, :3]
        np.testing.assert_allclose(
            rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (COUNT, 1, 1)), atol=1e-9
        )


def test_map_to_odom_takes_odometry_to_the_pose(driven):
    for update, T_odom_base in zip(driven.updates, driven.odometry, strict=True):
        np.testing.assert_allclose(update.T_map_odom @ T_odom_base, update.T_map_base, atol=1e-9)


def test_online_poses_do_not_look_ahead(room, driven):
    whole = driven.backend.online_trajectory().poses
    half = replace(room, truth=room.truth[:60], features=room.features[:60]).play()
    np.testing.assert_array_equal(half.backend.online_trajectory().poses, whole[:60])


def test_the_same_input_gives_the_same_poses(room, driven):
    again = fresh(room).play().backend.trajectory().poses
    np.testing.assert_array_equal(again, driven.backend.trajectory().poses)


def test_another_seed_gives_nearly_the_same_poses(room):
    for seed in (1, 2):
        assert final_ate(fresh(room).play(config=SlamConfig(seed=seed))) < 0.08


def test_reset_forgets_everything(room, driven):
    backend = SlamBackend()
    for features, T in zip(room.features[50:60], room.odometry[50:60], strict=True):
        backend.update(features, CAMERA, T_BASE_CAMERA, T)
    backend.reset()
    assert len(backend.trajectory()) == 0
    assert len(backend.graph().poses) == 0
    for features, T in zip(room.features[:30], room.odometry[:30], strict=True):
        backend.update(features, CAMERA, T_BASE_CAMERA, T)
    np.testing.assert_array_equal(
        backend.online_trajectory().poses, driven.backend.online_trajectory().poses[:30]
    )


def test_the_graph_holds_every_keyframe_and_nothing_else(driven):
    graph = driven.backend.graph()
    keyframe_stamps = [u.stamp_ns for u in driven.updates if u.is_keyframe]
    np.testing.assert_array_equal(graph.stamps_ns, keyframe_stamps)
    assert 5 < len(graph.poses) < COUNT / 2
    assert all(0 <= e.first < e.second < len(graph.poses) for e in graph.edges)
    assert {e.second for e in graph.edges} == set(range(1, len(graph.poses)))
    assert driven.backend.loop_closures == 0
    final = driven.backend.trajectory()
    at_keyframes = np.isin(final.stamps_ns, graph.stamps_ns)
    np.testing.assert_allclose(final.poses[at_keyframes], graph.poses, atol=1e-9)


@pytest.mark.parametrize("odometry", [True, False])
def test_rotations_stay_rotations_on_a_long_drive(odometry):
    rng = np.random.default_rng(2)
    walls, sensor = Thing.walls(rng, 800), Sensor(rng, max_features=60)
    truth, backend = drive(220), SlamBackend()
    for i, T in enumerate(truth):
        features = sensor.see((i + 1) * FRAME_NS, T @ T_BASE_CAMERA, [(walls, np.eye(4))])
        T_odom_base = invert(truth[0]) @ T if odometry else None
        backend.update(features, CAMERA, T_BASE_CAMERA, T_odom_base)
    for poses in (backend.online_trajectory().poses, backend.graph().poses):
        squares = poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1)
        assert np.abs(squares - np.eye(3)).max() < 1e-9


def test_a_robot_that_stands_still_adds_no_keyframes():
    rng = np.random.default_rng(1)
    walls, sensor, backend = Thing.walls(rng), Sensor(rng), SlamBackend()
    T = drive(1)[0]
    for i in range(30):
        features = sensor.see((i + 1) * FRAME_NS, T @ T_BASE_CAMERA, [(walls, np.eye(4))])
        update = backend.update(features, CAMERA, T_BASE_CAMERA, np.eye(4))
    assert len(backend.graph().poses) == 1
    assert np.linalg.norm(update.T_map_base[:3, 3]) < 0.02


def test_a_hidden_room_seen_from_the_newest_keyframe_adds_no_keyframes():
    rng = np.random.default_rng(1)
    walls, sensor, backend = Thing.walls(rng), Sensor(rng), SlamBackend()
    always, at_first = part(walls, slice(1250)), part(walls, slice(1250, None))

    def see(T, *things):
        stamp_ns = (len(backend.online_trajectory()) + 1) * FRAME_NS
        features = sensor.see(stamp_ns, T @ T_BASE_CAMERA, [(t, np.eye(4)) for t in things])
        backend.update(features, CAMERA, T_BASE_CAMERA, T)

    T = np.eye(4)
    see(T, always, at_first)
    while len(backend.graph().poses) < 2:
        T = T @ make_transform([0.05, 0.0, 0.0], [0, 0, 0, 1])
        see(T, always)
    # Now people stand in the way: it finds more of the first keyframe than of the newest.
    for _ in range(10):
        see(T, part(always, slice(0, None, 10)), part(at_first, slice(0, None, 5)))
    assert len(backend.graph().poses) == 2


def part(thing, chosen):
    return Thing(thing.points[chosen], thing.descriptors[chosen])


@pytest.mark.parametrize("gap", [range(30, 60), range(5), range(0, COUNT, 2)])
def test_odometry_may_have_gaps(room, gap):
    run = fresh(room).play(odometry=lambda i: i not in gap)
    assert final_ate(run) < 0.08
    assert online_ate(run) < 0.08


def blank(features):
    return no_features(features.stamp_ns)


def without_depth(features):
    return replace(features, points=np.full_like(features.points, np.nan))


def test_a_view_without_depth_is_still_registered(room):
    run = replaced(room, range(40, 48), without_depth).play()
    assert set(states(run)) == {TrackingState.VISUAL}
    assert final_ate(run) < 0.08


def test_a_camera_without_depth_leaves_odometry_as_it_is(room):
    run = replaced(room, range(COUNT), without_depth).play()
    np.testing.assert_allclose(run.backend.trajectory().poses, room.odometry, atol=1e-6)


def test_odometry_carries_the_pose_through_blindness(room):
    run = replaced(room, range(40, 60), blank).play()
    assert set(states(run)[40:60]) == {TrackingState.ODOMETRY}
    assert set(states(run)[65:]) == {TrackingState.VISUAL}
    assert final_ate(run) < 0.5 * ate(room.odometry, room.truth)


def test_blindness_without_odometry_is_lost_and_then_found(room):
    run = replaced(room, range(40, 44), blank).play(odometry=False)
    assert set(states(run)[40:44]) == {TrackingState.LOST}
    assert set(states(run)[46:]) == {TrackingState.VISUAL}
    assert final_ate(run) < 0.1


def test_a_long_blindness_without_odometry_starts_a_new_piece_of_map(room):
    run = replaced(room, range(40, 75), blank).play(odometry=False)
    assert EdgeKind.GAP in {edge.kind for edge in run.backend.graph().edges}
    assert states(run)[-1] == TrackingState.VISUAL
    assert np.isfinite(run.backend.trajectory().poses).all()


def test_the_longer_nothing_is_seen_the_farther_the_robot_may_have_gone(room):
    doubts = []
    for frames in (20, 35):
        run = replaced(room, range(50, 50 + frames), blank).play(odometry=False)
        edges = run.backend.graph().edges
        doubts += [np.sqrt(e.covariance[3, 3]) for e in edges if e.kind is EdgeKind.GAP]
    short, long = doubts
    assert 2.0 < short < long < 5.0


@pytest.mark.parametrize("rate", [5, 30])
def test_the_longer_a_robot_is_lost_the_less_it_claims_to_know_at_any_frame_rate(room, rate):
    run = fresh(room, room.features[:15]).play(odometry=False)
    for i in range(10 * rate):
        stamp_ns = run.features[-1].stamp_ns + (i + 1) * 10**9 // rate
        update = run.backend.update(no_features(stamp_ns), CAMERA, T_BASE_CAMERA, None)
    assert update.state is TrackingState.LOST
    assert 10.0 < np.sqrt(update.covariance[0, 0]) < 10.5


def test_two_images_in_a_moment_do_not_throw_the_robot_off():
    rng = np.random.default_rng(0)
    walls, sensor, backend = Thing.walls(rng), Sensor(rng), SlamBackend()
    frames = np.insert(np.arange(0, 80, 2), 31, 60)
    truth, stamps = drive(80)[frames], (frames + 2) * FRAME_NS
    stamps[31] += 500_000
    updates = [
        backend.update(
            sensor.see(int(stamp), T @ T_BASE_CAMERA, [(walls, np.eye(4))]),
            CAMERA,
            T_BASE_CAMERA,
            None,
        )
        for stamp, T in zip(stamps, truth, strict=True)
    ]
    assert {update.state for update in updates} == {TrackingState.VISUAL}
    assert ate(backend.online_trajectory().poses, truth) < 0.08


@pytest.mark.parametrize("flat", [[], [48]], ids=["with depth", "without depth at first"])
def test_what_was_in_view_before_a_short_gap_is_recognised_beyond_it(flat):
    # The robot stops while it sees nothing; then a stranger stands before it, and then goes aside.
    truth = drive(80)
    truth[42:] = truth[41]
    stranger = Thing.cluster(np.random.default_rng(5), 300)
    place = truth[-1] @ make_transform([2.0, 0.0, 0.6], [0, 0, 0, 1])
    run = Run.record(80, extra=lambda i: [(stranger, place)] if i >= 45 else [], truth=truth)
    run.features[41:45] = map(blank, run.features[41:45])
    run.features[45:48] = map(nearest, run.features[45:48])
    for i in flat:
        run.features[i] = without_depth(run.features[i])
    run.play(odometry=False)
    assert all(len(keyframe) for keyframe in run.backend.snapshot_map().keyframes)
    assert EdgeKind.GAP in {edge.kind for edge in run.backend.graph().edges}
    online = run.backend.online_trajectory().poses
    beyond = truth[0] @ invert(online[0]) @ online[50:]
    assert np.linalg.norm((beyond - truth[50:])[:, :3, 3], axis=1).max() < 0.03


def test_a_few_points_that_fit_do_not_find_a_lost_robot(room):
    def few(features):
        return thinned(features, 20)

    run = replaced(room, range(40, 44), blank)
    run = replaced(run, range(44, 46), few).play(odometry=False)
    assert set(states(run)[40:46]) == {TrackingState.LOST}
    assert set(states(run)[47:]) == {TrackingState.VISUAL}
    assert final_ate(run) < 0.1


@pytest.mark.parametrize("odometry", [True, False])
def test_a_camera_that_never_sees_anything_is_survived(room, odometry):
    run = replaced(room, range(COUNT), blank).play(odometry=odometry)
    expected = room.odometry if odometry else np.tile(np.eye(4), (COUNT, 1, 1))
    np.testing.assert_allclose(run.backend.trajectory().poses, expected, atol=1e-6)
    assert len(run.backend.graph().poses) == 0
    state = TrackingState.ODOMETRY if odometry else TrackingState.LOST
    assert set(states(run)) == {state}


def test_a_start_in_the_dark_is_survived(room):
    run = replaced(room, range(20), blank).play()
    assert final_ate(run) < 0.5 * ate(room.odometry, room.truth)
    assert states(run)[-1] == TrackingState.VISUAL


def passing_cluster(rng, truth, first, last, count=300):
    """Something textured that drives along in front of the camera, then off to the side."""
    cluster = Thing.cluster(rng, count)

    def extra(i):
        if not first <= i < last:
            return []
        sideways = 1.5 - 3.0 * (i - first) / (last - first)
        return [(cluster, truth[i] @ make_transform([2.0, sideways, 0.6], [0, 0, 0, 1]))]

    return extra


def test_a_moving_thing_does_not_take_the_map_along():
    extra = passing_cluster(np.random.default_rng(5), drive(COUNT), 30, 90)
    run = Run.record(COUNT, extra=extra).play()
    assert final_ate(run) < 0.35 * ate(run.odometry, run.truth)


def test_features_marked_as_moving_are_not_used():
    extra = passing_cluster(np.random.default_rng(5), drive(COUNT), 30, 90)
    run = Run.record(COUNT, extra=extra)
    run.features = [mark(f, CAMERA) for f in run.features]
    assert final_ate(run.play()) < 0.15 * ate(run.odometry, run.truth)
    assert final_ate(run.play(odometry=False)) < 0.08


def test_what_moves_is_not_followed_where_nothing_else_is_seen():
    cluster = Thing.cluster(np.random.default_rng(5), 300)
    ahead = make_transform([2.0, 0.0, 0.6], [0, 0, 0, 1])
    truth = drive(COUNT)
    run = Run.record(COUNT, extra=lambda i: [(cluster, truth[i] @ ahead)])
    run.features = [
        nearest(mark(f, CAMERA)) if 40 <= i < 50 else mark(f, CAMERA)
        for i, f in enumerate(run.features)
    ]
    assert set(states(run.play(odometry=False))[40:50]) == {TrackingState.LOST}


def nearest(features):
    """Leave the moving thing alone."""
    return chosen(features, features.points[:, 2] < 2.6)


def thinned(features, count):
    """Leave so many features, evenly chosen."""
    return chosen(features, np.linspace(0, len(features) - 1, count).astype(int))


def chosen(features, kept):
    names = ("uv", "points", "score", "static_probability", "descriptors")
    return replace(features, **{name: getattr(features, name)[kept] for name in names})


def mark(features, camera):
    """Set the probability low for what is nearer than the walls can be seen: the moving thing."""
    z = features.points[:, 2]
    return replace(features, static_probability=np.where(z < 2.6, 0.1, 0.95).astype(np.float32))


def test_a_wheel_slip_is_found_out_by_the_camera(room):
    slip = make_transform([0.4, 0.0, 0.0], [0, 0, 0, 1])
    slipped = room.odometry.copy()
    start, stop = room.odometry[50], room.odometry[56]
    for i in range(50, COUNT):
        # For six frames the wheels turn 0.4 m further than the robot goes.
        part = min(1.0, (i - 50) / 6)
        here = invert(start) @ room.odometry[i] if i < 56 else invert(stop) @ room.odometry[i]
        pushed = make_transform([0.4 * part, 0, 0], [0, 0, 0, 1])
        slipped[i] = start @ pushed @ here if i < 56 else stop @ slip @ here
    run = Run(room.truth, slipped, room.features).play()
    assert states(run)[-1] == TrackingState.VISUAL
    assert final_ate(run) < 0.15


def test_wheels_that_slip_and_turn_the_robot_in_a_moment_are_found_out_at_once(room):
    turned = make_transform([0.02, 0.0, 0.0], [0, 0, np.sin(0.125), np.cos(0.125)])  # 14 degrees
    slipped = room.odometry.copy()
    for i in range(50, COUNT):
        slipped[i] = room.odometry[49] @ turned @ invert(room.odometry[49]) @ room.odometry[i]
    run = Run(room.truth, slipped, room.features).play()
    assert states(run)[50] == TrackingState.VISUAL
    assert online_ate(run) < 1.5 * online_ate(fresh(room).play()) + 0.01


def test_a_ramp_that_odometry_knows_nothing_of_is_seen():
    slope = np.radians(6.0)
    pitch = np.where((np.arange(80) >= 25) & (np.arange(80) < 55), -slope, 0.0)
    truth, flat = [], []
    T, x = make_transform([-3.5, 0, 0], [0, 0, 0, 1]), 0.0
    for angle in pitch:
        T = T @ make_transform([0.06, 0, 0], [0, 0, 0, 1])
        T[:3, :3] = make_rotation([0, angle, 0])[:3, :3]
        x += 0.06
        truth.append(T.copy())
        flat.append(make_transform([x, 0, 0], [0, 0, 0, 1]))
    rng = np.random.default_rng(8)
    walls, sensor = Thing.walls(rng), Sensor(rng)
    features = [
        sensor.see((i + 1) * FRAME_NS, T @ T_BASE_CAMERA, [(walls, np.eye(4))])
        for i, T in enumerate(truth)
    ]
    run = Run(np.array(truth), np.array(flat), features).play()
    climbed = run.backend.trajectory().poses[-1, 2, 3]
    assert truth[-1][2, 3] > 0.15
    assert abs(climbed - truth[-1][2, 3]) < 0.06


def test_the_vertical_of_odometry_keeps_the_map_level(room):
    level = fresh(room).play().backend.trajectory().poses
    free = fresh(room).play(config=SlamConfig(odometry_tilt=None)).backend.trajectory().poses
    tilt = [np.degrees(np.arccos(poses[-30:, 2, 2])).mean() for poses in (level, free)]
    assert tilt[0] < 0.2
    assert tilt[0] <= tilt[1]


def test_a_map_begun_without_odometry_is_not_levelled(room):
    run = fresh(room).play(odometry=lambda i: i > 0)
    assert set(states(run)) == {TrackingState.VISUAL}
    assert final_ate(run) < 0.08


def test_an_odometry_restart_is_bridged_by_the_camera(room):
    restarted = room.odometry.copy()
    restarted[60:] = invert(room.odometry[60]) @ room.odometry[60:]
    restarted[60:, 0, 3] += 30.0
    run = Run(room.truth, restarted, room.features).play()
    assert final_ate(run) < 0.08
    assert "odometry jumped" in run.updates[60].warnings[0]
    assert not run.updates[61].warnings


def test_odometry_that_starts_anew_after_a_gap_is_not_taken_for_a_drive(room):
    start = make_transform([6.0, 0, 0], [0, 0, 0, 1])  # where the robot is in odom by then
    restarted = start @ room.odometry
    restarted[60:] = invert(room.odometry[60]) @ room.odometry[60:]
    run = Run(room.truth, restarted, room.features).play(odometry=lambda i: not 40 <= i < 60)
    assert final_ate(run) < 0.08
    assert online_ate(run) < 0.08
    assert "odometry jumped" in run.updates[60].warnings[0]


def test_odometry_that_hangs_does_not_spoil_what_it_says_later(room):
    """The wheels repeat one pose, and then it is dark: they still count all of the way."""
    hung = room.odometry.copy()
    hung[20:22] = hung[19]
    run = replaced(Run(room.truth, hung, room.features), range(40, COUNT), blank).play()
    gone = invert(run.updates[40].T_map_base) @ run.updates[-1].T_map_base
    expected = invert(room.odometry[40]) @ room.odometry[-1]
    assert np.linalg.norm((gone - expected)[:3, 3]) < 0.5


def test_what_moves_and_fills_the_view_of_a_lost_robot_makes_no_map(room):
    def crowd(features):
        return replace(features, static_probability=np.full(len(features), 0.1, np.float32))

    rng, before = np.random.default_rng(3), make_transform([2.0, 0, 0.6], [0, 0, 0, 1])
    passing = [
        Sensor(rng).see(features.stamp_ns, T_BASE_CAMERA, [(Thing.cluster(rng), before)])
        for features in room.features[60:]
    ]
    run = fresh(room, [*room.features[:60], *map(crowd, passing)]).play(odometry=False)
    assert set(states(run)[60:]) == {TrackingState.LOST}
    assert not any(update.is_keyframe for update in run.updates[60:])


def test_without_history_all_but_the_trajectories_is_the_same(room, driven):
    backend = SlamBackend(keeps_history=False)
    for features, T, update in zip(room.features, room.odometry, driven.updates, strict=True):
        again = backend.update(features, CAMERA, T_BASE_CAMERA, T)
        np.testing.assert_array_equal(again.T_map_base, update.T_map_base)
    assert len(backend.trajectory()) == len(backend.online_trajectory()) == 0


def test_the_camera_may_change_its_resolution(room):
    half = CAMERA.scaled(CAMERA.width // 2, CAMERA.height // 2)
    backend = SlamBackend()
    for i, features in enumerate(room.features):
        camera = CAMERA if i < 60 else half
        if i >= 60:
            uv = ((features.uv + 0.5) / 2 - 0.5).astype(np.float32)
            features = replace(features, uv=uv, width=half.width, height=half.height)
        update = backend.update(features, camera, T_BASE_CAMERA, room.odometry[i])
        assert update.state == TrackingState.VISUAL
    assert ate(backend.trajectory().poses, room.truth) < 0.08


def test_input_that_cannot_be_used_is_refused_and_changes_nothing(room):
    backend = SlamBackend()
    features = room.features
    backend.update(features[1], CAMERA, T_BASE_CAMERA, np.eye(4))
    cases = [
        (features[0], CAMERA, np.eye(4), Fault.TIME_JUMP_BACK, "reset"),
        (features[1], CAMERA, np.eye(4), Fault.TIME_JUMP_BACK, "reset"),
        (features[2], CAMERA.scaled(640, 480), np.eye(4), Fault.SIZE_MISMATCH, "camera model"),
        (features[2], CAMERA, np.full((4, 4), np.nan), Fault.INVALID_ODOMETRY, "None"),
    ]
    for bad, camera, T_odom_base, fault, words in cases:
        with pytest.raises(InputError, match=words) as raised:
            backend.update(bad, camera, T_BASE_CAMERA, T_odom_base)
        assert raised.value.fault == fault
    other = make_features(
        features[2].stamp_ns, features[2].uv, features[2].points, features[2].descriptors[:, :64]
    )
    assert other.descriptors.shape[1] != BITS
    with pytest.raises(ValueError, match="the kind of features"):
        backend.update(other, CAMERA, T_BASE_CAMERA, np.eye(4))
    assert len(backend.trajectory()) == 1
    assert backend.update(features[2], CAMERA, T_BASE_CAMERA, room.odometry[1]).inliers > 0


def test_a_robot_that_was_carried_finds_itself_again(room):
    """It drives, is covered and set down where it was before, and odometry feels nothing of it."""
    drove, dark, again = 60, 12, range(8, 60)
    frames = [*range(drove), *[drove] * dark, *again]
    T_carried = room.odometry[drove] @ invert(room.odometry[again[0]])
    backend, errors = SlamBackend(), []
    for i, frame in enumerate(frames):
        features = replace(room.features[frame], stamp_ns=(i + 1) * FRAME_NS)
        if drove <= i < drove + dark:
            features = blank(features)
        T_odom_base = room.odometry[frame] if i < drove + dark else T_carried @ room.odometry[frame]
        update = backend.update(features, CAMERA, T_BASE_CAMERA, T_odom_base)
        T_true = room.odometry[0] @ invert(room.truth[0]) @ room.truth[frame]
        errors.append(np.linalg.norm((invert(T_true) @ update.T_map_base)[:3, 3]))
    assert errors[drove + dark] > 1.0
    assert max(errors[-5:]) < 0.15
    assert {edge.kind for edge in backend.graph().edges} >= {EdgeKind.GAP, EdgeKind.LOOP}


def test_a_thing_met_again_in_another_room_is_not_taken_for_the_room():
    """A parked cart is seen in one room; carried into another, the robot sees such a cart there."""
    drove, dark = 60, 12
    at = make_transform([-0.8, 2.2, 0.6], [0, 0, 0, 1])
    cart = (Thing.cluster(np.random.default_rng(6), 45), at)
    here, there = (Run.record(drove, seed, extra=lambda i: [cart]) for seed in (1, 2))
    frames = [*here.features, *[blank(here.features[-1])] * dark, *there.features]
    T_there = here.odometry[-1] @ invert(there.odometry[0])
    ways = [*here.odometry, *[here.odometry[-1]] * dark, *(T_there @ there.odometry)]
    backend = SlamBackend()
    for i, (features, T_odom_base) in enumerate(zip(frames, ways, strict=True)):
        near_first = 1 / np.maximum(features.points[:, 2], 0.1)
        view = replace(features, stamp_ns=(i + 1) * FRAME_NS, score=near_first)
        backend.update(view, CAMERA, T_BASE_CAMERA, T_odom_base)
    kinds = {edge.kind for edge in backend.graph().edges}
    assert EdgeKind.GAP in kinds
    assert EdgeKind.LOOP not in kinds


def test_a_robot_carried_to_where_a_little_looks_alike_notices_it():
    """Aisles are alike: some points lie where they would if it had not been carried."""
    drove, dark = 40, 12
    alike, ahead = (
        Thing.cluster(np.random.default_rng(7), 20),
        make_transform([2, 0, 0.6], [0, 0, 0, 1]),
    )
    truth = drive(drove)
    here = Run.record(drove, 1, extra=lambda i: [(alike, truth[-1] @ ahead)])
    there = Run.record(drove, 2, extra=lambda i: [(alike, truth[0] @ ahead)])
    frames = [*here.features, *[blank(here.features[-1])] * dark, *[there.features[0]] * 10]
    backend = SlamBackend()
    for i, features in enumerate(frames):
        view = replace(features, stamp_ns=(i + 1) * FRAME_NS)
        T_odom_base = here.odometry[min(i, drove - 1)]
        update = backend.update(view, CAMERA, T_BASE_CAMERA, T_odom_base)
        assert i != drove + dark or update.state is TrackingState.ODOMETRY
    assert EdgeKind.GAP in {edge.kind for edge in backend.graph().edges}
