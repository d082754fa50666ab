"""Architectures, strings and choices."""

import itertools

import numpy as np
import pytest

from pnag_tf.space import space as space_lib

PUBLISHED = "2,3,3,3,3:3,3,0,0,3,5,3,0,3,3,5,0,3,3,5,0,5,5,7,0:3,3,0,0,4,3,3,0,4,4,4,0,4,6,6,0,6,6,3,0"


def test_size_of_the_papers_space():
    assert space_lib.SearchSpace().size == (81 + 729 + 6561) ** 5


def test_string_round_trip():
    space = space_lib.SearchSpace()
    assert [str(a) for a in space.decode(space.encode([PUBLISHED]))] == [PUBLISHED]


def test_sample_round_trip(space):
    choices = space.sample(np.random.default_rng(0), 200)
    assert (space.encode(space.decode(choices)) == choices).all()
    assert (space.canonical(choices) == choices).all()


def test_distinct_samples_are_distinct_and_end_with_the_space():
    small = space_lib.SearchSpace(units=1, depths=(1, 2), kernels=(3,), ratios=(1, 2))  # 2 + 4 architectures
    ends = np.stack([small.smallest(), small.largest()])
    for count, expected in ((2, 2), (4, 4), (9, 4)):
        found = small.sample_distinct(np.random.default_rng(0), count, beside=ends)
        assert len(found) == expected == len(np.unique(np.concatenate([ends, found]), axis=0)) - 2


def test_token_order_is_depth_then_ratio_and_kernel_of_each_layer():
    space = space_lib.SearchSpace(units=1, depths=(1, 2), kernels=(3, 5), ratios=(3, 4, 6))
    choices = space.encode(["2:5,3:6,4"])
    assert choices.tolist() == [[1, 2, 1, 1, 0]]
    assert space.token_kinds == ("depth", "ratio", "kernel", "ratio", "kernel")


def test_every_architecture_is_reached_and_counted():
    space = space_lib.SearchSpace(units=1, depths=(1, 2), kernels=(3, 5), ratios=(3, 4))
    every = {str(space.decode(np.array(c))[0]) for c in itertools.product(*(range(n) for n in space.token_sizes))}
    assert len(every) == space.size == 4 + 16


def test_features_of_a_hand_made_architecture():
    space = space_lib.SearchSpace(units=1, depths=(1, 2), kernels=(3, 5), ratios=(3, 4))
    choices = space.encode(["1:5,0:4,0"])
    assert space.one_hot(choices).tolist() == [[1, 0, 0, 1, 0, 1, 0, 0, 0, 0]]
    assert space.layer_one_hot(choices).tolist() == [[0, 0, 0, 1, 0, 0, 0, 0]]


def test_mutation_at_probability_zero_changes_nothing_and_at_one_redraws(space):
    rng = np.random.default_rng(1)
    choices = space.sample(rng, 100)
    assert (space.mutate(rng, choices, 0.0) == choices).all()
    assert (space.mutate(rng, choices, 1.0) != choices).any(axis=1).mean() > 0.9


def test_crossover_takes_every_active_token_from_a_parent_that_has_it(space):
    rng = np.random.default_rng(2)
    first, second = space.sample(rng, 100), space.sample(rng, 100)
    child = space.crossover(rng, first, second)
    from_first = space.active(first) & (child == first)
    from_second = space.active(second) & (child == second)
    assert (from_first | from_second)[space.active(child)].all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2,3:3", "2 parts; expected depths:kernels:ratios"),
        ("a:b:c", "no whole number"),
        ("2,2:3,3,0,0:3,3,0,0", "has 2 units; this space has 5"),
        (PUBLISHED.replace(":3,3,0", ":4,3,0", 1), "kernel 4 in layer 0; choose from 3, 5, 7"),
        (PUBLISHED.replace("2,3,3,3,3", "9,3,3,3,3"), "depth 9 in unit 0; choose from 2, 3, 4"),
        (PUBLISHED.replace(":3,3,0,0", ":3,3,3,0", 1), "expected 0 beyond the depth"),
    ],
)
def test_errors_say_both_sides(text, message):
    with pytest.raises(ValueError, match=message):
        space_lib.SearchSpace().encode([text])


WITH_PIXELS = space_lib.SearchSpace(units=1, depths=(1, 2), kernels=(3, 5), ratios=(3, 4), resolutions=(12, 16))


def test_a_searched_resolution_is_the_last_token_and_the_last_part_of_the_string():
    assert WITH_PIXELS.token_kinds[-1] == "resolution" and WITH_PIXELS.tokens == 6
    assert WITH_PIXELS.size == 2 * WITH_PIXELS.without_resolutions.size
    (choices,) = WITH_PIXELS.encode(["1:5,0:4,0:12"])
    assert choices.tolist() == [0, 1, 1, 0, 0, 0]
    assert str(WITH_PIXELS.decode(choices)[0]) == "1:5,0:4,0:12"
    every = itertools.product(*(range(n) for n in WITH_PIXELS.token_sizes))
    assert len({str(WITH_PIXELS.decode(np.array(each))[0]) for each in every}) == WITH_PIXELS.size


def test_an_architecture_without_a_resolution_is_of_the_largest():
    assert (WITH_PIXELS.encode(["1:5,0:4,0"]) == WITH_PIXELS.encode(["1:5,0:4,0:16"])).all()
    assert space_lib.Architecture.parse("1:5,0:4,0").resolution == 0


def test_features_of_a_layer_are_joint_with_the_resolution():
    small, large = WITH_PIXELS.layer_one_hot(WITH_PIXELS.encode(["1:5,0:4,0:12", "1:5,0:4,0:16"]))
    assert np.flatnonzero(small).tolist() == [3] and np.flatnonzero(large).tolist() == [7]
    assert len(small) == 2 * WITH_PIXELS.without_resolutions.layer_one_hot(np.zeros(5, np.int32)).size
    assert WITH_PIXELS.one_hot(WITH_PIXELS.encode(["1:5,0:4,0:12"]))[0, -2:].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        (WITH_PIXELS, "1:5,0:4,0:14", "resolution 14 in architecture '1:5,0:4,0:14'; choose from 12, 16"),
        (WITH_PIXELS, "1:5,0:4,0:a", "no whole number"),
        (WITH_PIXELS, "1:5,0:4,0:12:1", "5 parts; expected depths:kernels:ratios or depths:kernels:ratios:resolution"),
        (WITH_PIXELS.without_resolutions, "1:5,0:4,0:12", "this space searches none"),
    ],
)
def test_errors_of_resolutions(space, text, message):
    with pytest.raises(ValueError, match=message):
        space.encode([text])
