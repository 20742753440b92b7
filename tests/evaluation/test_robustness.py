"""Other users than the configured one: which there are, and what they are run on."""

import pytest

from ecc_jax.clicks.user import EVALUATION_RADII, HABITS, RobotUser
from ecc_jax.evaluation.robustness import num_passes, run_variants, variants_of
from tests.evaluation.benches import CLICKS, COUNT, NETWORK_USER, bench_of, network_of


def test_robust_users_start_with_the_configured_one_and_differ():
    user = RobotUser().with_habit("average")
    found = variants_of(user, habit="average", jitters=(2.0, 5.0), scales=(0.5, 2.0))
    assert found[0].name == "nominal" and found[0].user == RobotUser(radius="weighted")
    assert [variant.user.jitter for variant in found[1:3]] == [2.0, 5.0]
    assert [variant.user.radius_scale for variant in found[3:5]] == [0.5, 2.0]
    assert {variant.name for variant in found[5:]} == {"tight", "enclosing", "average_then_tight"}
    assert len({variant.user for variant in found}) == len(found)
    # A static radius has no size to err in.
    fixed = variants_of(RobotUser(radius="fixed"), habit="fixed", jitters=(2.0,), scales=(0.5,))
    assert [variant.name for variant in fixed] == ["nominal", "jitter_2"]


def test_what_a_variant_does_not_name_stays_as_configured():
    user = RobotUser("deepest", enclosing="min_circle", threshold=0.49).with_habit("tight")
    for variant in variants_of(user, habit="tight", jitters=(1.0,), scales=(2.0,)):
        kept = (variant.user.rule, variant.user.enclosing, variant.user.threshold)
        assert kept == ("deepest", "min_circle", 0.49) and variant.user.radius == "weighted"


def test_every_habit_of_a_configuration_has_a_label():
    assert set(EVALUATION_RADII) == {*HABITS, "fixed"}
    for habit in HABITS:
        user = RobotUser().with_habit(habit)
        found = variants_of(user, habit=habit, jitters=(), scales=())
        assert len({variant.label for variant in found}) == len(HABITS)
        assert found[0].label.startswith("as configured: ")


@pytest.mark.parametrize("radius", ["weighted", "fixed"])
def test_network_and_painter_are_run_under_every_user(radius):
    done = []
    user = NETWORK_USER if radius == "weighted" else RobotUser(radius="fixed", fixed_radius=3.0)
    bench = bench_of(user=user, advance=done.append)
    bench = bench._replace(network=network_of(bench.options))
    habit = "average" if radius == "weighted" else "fixed"
    variants = variants_of(user, habit=habit, jitters=(1.0,), scales=(2.0,))
    found = run_variants(bench, variants)
    assert sum(done) == num_passes(bench, variants)
    assert [entry["variant"] for entry in found] == [variant.name for variant in variants]
    # The painter needs a radius.
    rows = {"model", "disk_painter"} if radius == "weighted" else {"model"}
    assert all(set(entry["rows"]) == rows for entry in found)
    assert all(len(curve) == CLICKS for entry in found for curve in entry["rows"].values())
    curves = {tuple(entry["rows"]["model"]) for entry in found}
    assert len(curves) == len(found), "users that do not differ"
    assert COUNT > 1
