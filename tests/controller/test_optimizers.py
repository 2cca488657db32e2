"""Optimisers: what they sample, and what they make of the costs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.config import ConfigError, PlannerConfig
from controller.optimizers import Distribution, build_optimizer
from controller.optimizers.mppi import softmax_weights
from controller.optimizers.noise import NoisePool, coloured_noise

METHODS = ["cem", "icem", "mppi", "predictive", "gradient"]
SAMPLING = METHODS[:-1]
LOW = np.array([-1.0, -2.0], np.float32)
HIGH = np.array([1.0, 2.0], np.float32)


def config_for(method: str, **settings_: object) -> PlannerConfig:
    values = {"horizon": 4, "knots": 4, "samples": 160, "elites": 8, "kept_elites": 2, **settings_}
    return PlannerConfig(method=method, **values)


def start(optimizer, knots: int = 4, actions: int = 2) -> Distribution:
    rest = np.zeros((knots, actions), np.float32)
    return optimizer.start(rest, rest[None])


@settings(deadline=None, max_examples=40)
@given(
    method=st.sampled_from(METHODS),
    knots=st.integers(1, 9),
    low=st.lists(st.floats(-10, -0.01), min_size=1, max_size=7),
    std=st.floats(0.01, 50.0),
    beta=st.floats(0.0, 4.0),
    count=st.integers(1, 64),
    seed=st.integers(0, 2**32),
)
def test_every_sample_is_within_bounds(method, knots, low, std, beta, count, seed):
    low = np.array(low, np.float32)
    high = -low / 3
    config = config_for(method, horizon=knots, knots=knots, std=std, noise_beta=beta)
    optimizer = build_optimizer(config, low, high)
    mean = np.broadcast_to(high * 5, (knots, len(low)))  # a warm start out of bounds
    distribution = optimizer.start(mean, mean[None])
    rng = np.random.default_rng(seed)
    for _ in range(3):
        samples = optimizer.sample(distribution, rng, count)
        assert samples.shape == (count, knots, len(low))
        assert samples.dtype == np.float32
        assert (samples >= low).all()
        assert (samples <= high).all()
        distribution = optimizer.update(distribution, samples, samples.sum(axis=(1, 2)))
        assert (distribution.std > 0).all()


@pytest.mark.parametrize("method", SAMPLING)
def test_the_mean_and_what_is_kept_are_tried_as_they_are(method):
    optimizer = build_optimizer(config_for(method), LOW, HIGH)
    mean = np.full((4, 2), 0.5, np.float32)
    kept = np.full((2, 4, 2), -0.25, np.float32)
    samples = optimizer.sample(optimizer.start(mean, kept), np.random.default_rng(0), 64)
    np.testing.assert_array_equal(samples[0], mean)
    np.testing.assert_array_equal(samples[1:3], kept)
    assert len(np.unique(samples[3:, 0, 0])) > 20


@pytest.mark.parametrize("method", METHODS)
def test_the_generator_decides_the_samples(method):
    optimizer = build_optimizer(config_for(method), LOW, HIGH)
    first, again, other = (
        optimizer.sample(start(optimizer), np.random.default_rng(seed), 64) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("method", ["cem", "mppi", "predictive"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_have_no_influence(method, bad):
    optimizer = build_optimizer(config_for(method), LOW, HIGH)
    distribution = start(optimizer)
    samples = optimizer.sample(distribution, np.random.default_rng(0), 64)
    costs = np.square(samples - 0.3).sum(axis=(1, 2))
    costs[::2] = bad
    clean = optimizer.update(distribution, samples[1::2], costs[1::2])
    spoilt = optimizer.update(distribution, samples, costs)
    np.testing.assert_allclose(spoilt.mean, clean.mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(spoilt.std, clean.std, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(spoilt.kept, clean.kept)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_finite_changes_nothing(method):
    optimizer = build_optimizer(config_for(method), LOW, HIGH)
    distribution = start(optimizer)
    samples = optimizer.sample(distribution, np.random.default_rng(0), 64)
    assert optimizer.update(distribution, samples, np.full(64, np.nan)) is distribution


def test_cem_fits_mean_and_std_to_the_elites():
    config = PlannerConfig(horizon=1, knots=1, samples=4, elites=2, kept_elites=1, std_floor=0.01)
    optimizer = build_optimizer(config, LOW[:1], HIGH[:1])
    samples = np.array([0.9, 0.1, -0.9, 0.5], np.float32).reshape(4, 1, 1)
    after = optimizer.update(start(optimizer, 1, 1), samples, np.array([9.0, 2.0, 8.0, 1.0]))
    # elites 0.5 and 0.1: mean 0.3, std 0.2, the best of them is 0.5
    assert after.mean.item() == pytest.approx(0.3)
    assert after.std.item() == pytest.approx(0.2)
    assert after.kept.ravel().tolist() == pytest.approx([0.5])


def test_cem_std_never_falls_below_its_floor():
    optimizer = build_optimizer(config_for("cem", std_floor=0.25), LOW, HIGH)
    samples = np.full((64, 4, 2), 0.5, np.float32)
    after = optimizer.update(start(optimizer), samples, np.zeros(64, np.float32))
    # a quarter of half the range: 0.25 * 1 and 0.25 * 2
    np.testing.assert_allclose(after.std, np.broadcast_to([0.25, 0.5], (4, 2)))


def test_cem_keeps_looking_around_when_one_sample_is_left():
    optimizer = build_optimizer(config_for("cem"), LOW, HIGH)
    distribution = start(optimizer)
    samples = optimizer.sample(distribution, np.random.default_rng(0), 64)
    costs = np.full(64, np.nan, np.float32)
    costs[5] = 1.0
    after = optimizer.update(distribution, samples, costs)
    np.testing.assert_array_equal(after.mean, samples[5])
    np.testing.assert_array_equal(after.std, distribution.std)


def test_mppi_weights():
    # minimum 1, median (the upper of two) 3, spread 2, temperature 0.5: exp(-(c - 1) / 1)
    weights = softmax_weights(np.array([1.0, 2.0, 3.0, 4.0], np.float32), 0.5)
    expected = np.exp([0.0, -1.0, -2.0, -3.0])
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-6)


def test_one_outlier_does_not_make_all_others_alike():
    costs = np.linspace(1.0, 2.0, 64, dtype=np.float32)
    clean = softmax_weights(costs, 0.1)
    costs[-1] = 1e30
    np.testing.assert_allclose(softmax_weights(costs, 0.1)[:8], clean[:8], rtol=1e-5)


def test_equal_costs_weigh_alike():
    np.testing.assert_allclose(softmax_weights(np.ones(4, np.float32), 0.1), 0.25)


def test_mppi_shrinks_its_std_on_schedule():
    optimizer = build_optimizer(config_for("mppi", std=0.8, std_decay=0.5), LOW, HIGH)
    distribution = start(optimizer)
    samples = optimizer.sample(distribution, np.random.default_rng(0), 64)
    after = optimizer.update(distribution, samples, np.zeros(64, np.float32))
    np.testing.assert_allclose(after.std, np.broadcast_to([0.4, 0.8], (4, 2)))


@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("knots", [1, 4, 16])
def test_noise_has_std_one_at_every_knot(beta, knots):
    noise = coloured_noise(np.random.default_rng(0), 20_000, knots, 2, beta)
    np.testing.assert_allclose(noise.std(axis=0), 1.0, atol=0.03)
    np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=0.03)


def test_colour_makes_neighbours_alike():
    def correlation(beta: float) -> float:
        noise = coloured_noise(np.random.default_rng(0), 20_000, 8, 1, beta)[..., 0]
        return float((noise[:, 3] * noise[:, 4]).mean())

    assert abs(correlation(0.0)) < 0.03
    assert 0.3 < correlation(1.0) < correlation(2.0) < correlation(4.0) < 1.0


@pytest.mark.parametrize("count", [1, 5, 8, 21, 64])
def test_a_sample_is_the_mean_and_noise_of_the_pool(count):
    config = config_for("cem", samples=64)
    optimizer = build_optimizer(config, LOW, HIGH)
    rng = np.random.default_rng(1)
    mean = rng.uniform(-0.5, 0.5, (4, 2)).astype(np.float32)
    std = rng.uniform(0.1, 1.0, (4, 2)).astype(np.float32)
    samples = optimizer.sample(
        Distribution(mean, std, mean[None] / 2), np.random.default_rng(2), count
    )
    noise = NoisePool(4, 2, config.noise_beta, 64).read(np.random.default_rng(2), count)
    expected = mean + std * noise.reshape(count, 4, 2)
    expected[0] = mean
    expected[1:2] = mean / 2
    np.testing.assert_allclose(samples, expected.clip(LOW, HIGH), rtol=1e-6)


def test_pool_reads_stay_inside():
    pool = NoisePool(knots=2, actions=1, beta=0.0, count=13)

    class Last:
        """Picks the last place there is."""

        def integers(self, high: int) -> int:
            return high - 1

    assert pool.read(Last(), 16).shape == (16, 2)


# --- gradient descent


def test_descent_needs_a_sample_on_either_side_of_every_knot():
    # 4 knots of 2 actions: 2 * 8 + 1
    with pytest.raises(ConfigError, match="at least 17 for the gradient of 4 knots of 2 actions"):
        build_optimizer(config_for("gradient", samples=16), LOW, HIGH)


def descend(costs_of, start_at=0.0):
    config = config_for("gradient", samples=17, gradient_step=0.5, iterations=4)
    optimizer = build_optimizer(config, LOW, HIGH)
    distribution = optimizer.start(np.full((4, 2), start_at, np.float32), np.zeros((0, 4, 2)))
    samples = optimizer.sample(distribution, np.random.default_rng(0), 17)
    return optimizer.update(distribution, samples, costs_of(samples)), samples


def test_the_first_step_goes_down_by_the_step_that_is_set():
    after, _ = descend(lambda samples: samples.sum(axis=(1, 2)))
    # half of half the range, on every axis: 0.5 * 1 and 0.5 * 2
    np.testing.assert_allclose(after.mean, np.broadcast_to([-0.5, -1.0], (4, 2)), rtol=1e-4)


def test_the_step_shrinks_evenly_to_nothing():
    config = config_for("gradient", samples=17, gradient_step=0.5, iterations=4)
    optimizer = build_optimizer(config, LOW, HIGH)
    distribution = optimizer.start(np.full((4, 2), 1.0, np.float32), np.zeros((0, 4, 2)))
    means = [1.0]
    for _ in range(5):
        samples = optimizer.sample(distribution, np.random.default_rng(0), 17)
        distribution = optimizer.update(distribution, samples, samples.sum(axis=(1, 2)))
        means.append(distribution.mean[0, 1])
    # 0.5 * 2 times 1, 3/4, 1/2 is 1, 0.75, 0.5; then the bound at -2 is met
    assert means == pytest.approx([1.0, 0.0, -0.75, -1.25, -1.5, -1.5], abs=1e-3)


def test_one_neighbour_is_enough_for_a_slope():
    def without_those_above(samples):
        costs = samples.sum(axis=(1, 2))
        costs[1:9] = np.nan
        return costs

    after, _ = descend(without_those_above)
    np.testing.assert_allclose(after.mean, np.broadcast_to([-0.5, -1.0], (4, 2)), rtol=1e-4)


def test_a_point_that_is_out_begins_again_at_the_best():
    def without_the_middle(samples):
        costs = samples.sum(axis=(1, 2))
        costs[0] = np.nan
        return costs

    after, samples = descend(without_the_middle)
    best = samples[samples.sum(axis=(1, 2)).argmin()]
    np.testing.assert_allclose(after.mean, best)


# --- iCEM and predictive sampling


def test_icem_draws_fewer_samples_later_but_twice_the_elites():
    optimizer = build_optimizer(config_for("icem", samples=100, sample_decay=0.5), LOW, HIGH)
    assert [optimizer.count(100, i) for i in range(5)] == [100, 50, 25, 16, 16]


def test_icem_moves_part_of_the_way_and_carries_its_elites():
    config = config_for("icem", samples=4, elites=2, kept_elites=1, momentum=0.25, min_samples=4)
    optimizer = build_optimizer(config, LOW[:1], HIGH[:1])
    mean = np.full((4, 1), 0.1, np.float32)
    distribution = optimizer.start(mean, mean[None])
    samples = np.array([0.9, 0.1, -0.9, 0.5], np.float32).reshape(4, 1, 1).repeat(4, axis=1)
    after = optimizer.update(distribution, samples, np.array([9.0, 2.0, 8.0, 1.0]))
    # elites 0.5 and 0.1: mean 0.3, std 0.2; a quarter stays: 0.025 + 0.225 and 0.25 + 0.15
    np.testing.assert_allclose(after.mean, 0.25, rtol=1e-5)
    np.testing.assert_allclose(after.std, 0.4, rtol=1e-5)
    np.testing.assert_array_equal(optimizer.carried(after), samples[3:])


def test_predictive_sampling_goes_to_the_best():
    optimizer = build_optimizer(config_for("predictive", std_decay=0.5), LOW, HIGH)
    distribution = start(optimizer)
    samples = optimizer.sample(distribution, np.random.default_rng(0), 8)
    costs = np.array([4, 3, np.nan, 1, -np.inf, 5, 6, 7], np.float32)
    costs[4] = np.inf
    after = optimizer.update(distribution, samples, costs)
    np.testing.assert_array_equal(after.mean, samples[3])
    np.testing.assert_allclose(after.std, np.broadcast_to([0.5, 1.0], (4, 2)))
