"""Seeds: one for each purpose, the same for ever."""

from itertools import combinations

import numpy as np
import pytest
import torch

from clntk.seeding import Purpose, Seeds

# Written down once: a change here would change every published run without changing its identity.
FOR_EVER = {
    "data": (3509910692935324612, 5079820949145580011),
    "init": (7343407241800991739, 7545190551561641246),
    "order": (1782496865409172985, 440771388889032091),
    "probe": (1208386321439891535, 8578284073837091286),
    "dropout": (6871666829122077531, 7846875724678594544),
    "gates": (4165528304874999568, 3793190895938098321),
    "bootstrap": (1245136981208923687, 2052464250695062770),
}


@pytest.mark.parametrize("purpose", Purpose)
def test_seeds_never_change(purpose):
    assert (Seeds(0).integer(purpose), Seeds(12345).integer(purpose)) == FOR_EVER[purpose]


def test_every_purpose_is_written_down():
    assert set(FOR_EVER) == set(Purpose)


def _draws(seeds, purpose):
    return seeds.numpy(purpose).random(200), torch.rand(200, generator=seeds.torch(purpose)).double().numpy()


def test_a_generator_starts_afresh_each_time():
    for first, second in zip(_draws(Seeds(3), "data"), _draws(Seeds(3), "data"), strict=True):
        np.testing.assert_array_equal(first, second)


def test_purposes_and_seeds_are_independent():
    """Largest of 132 correlations of 200 draws: five standard errors of 1/√200 leave one chance in 10⁴."""
    places = [(seed, purpose) for seed in (0, 1) for purpose in Purpose]
    drawn = {place: _draws(Seeds(place[0]), place[1]) for place in places}
    for a, b in combinations(places, 2):
        for x, y in zip(drawn[a], drawn[b], strict=True):
            assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(200)


def test_drawing_for_one_purpose_leaves_the_others_and_the_global_generators_alone():
    seeds, state = Seeds(0), torch.get_rng_state()
    before = _draws(seeds, "init")
    seeds.numpy("data").random(7)
    torch.rand(7, generator=seeds.torch("order"))
    for first, second in zip(before, _draws(seeds, "init"), strict=True):
        np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_purpose_is_refused():
    with pytest.raises(ValueError, match="'dta' is not a valid Purpose"):
        Seeds(0).integer("dta")
