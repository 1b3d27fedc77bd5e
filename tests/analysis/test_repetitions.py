"""No seed of a study counts twice, however many runs have it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.support import synthetic
from valstab.analysis.repetitions import without_repetitions

WHOLE = synthetic.scores(seeds=4, contexts=3, personas=5, keys=2)


def part(name, seeds, *, topics=3, people=5, label="model", shift=0.0, **more):
    """Return a run with some of the same scores; `shift` tells scores of one run from those of another."""
    values = WHOLE.sel(seed=seeds).isel(context=slice(topics), persona=slice(people)) + shift
    answers = pd.DataFrame({"seed": np.repeat(seeds, 2), "score": shift})
    conversations = [{"seed": seed, "messages": []} for seed in seeds]
    return replace(synthetic.run(label, values), id=name, answers=answers, conversations=conversations, **more)


def left(*runs):
    found = without_repetitions(runs)
    return [run.id for run in found], found.replaced, found.pooled


@pytest.mark.parametrize("pilot", [{}, {"people": 3}, {"topics": 2}, {"topics": 2, "people": 3}])
def test_a_pilot_is_replaced_by_its_study_whichever_ran_first(pilot):
    small, study = part("pilot", [0, 1], **pilot), part("study", [0, 1, 2])
    assert left(small, study) == left(study, small) == (["study"], ("pilot",), ())


def test_of_equal_runs_the_newest_stays():
    assert left(part("old", [0, 1]), part("new", [0, 1])) == (["new"], ("old",), ())


def test_runs_of_other_models_or_with_seeds_of_their_own_people_stay():
    one, other = part("one", [0, 1]), part("other", [0, 1, 2], label="another")
    fewer = part("fewer", [2], people=3)
    assert left(one, other, fewer) == (["one", "other", "fewer"], (), ())


def test_runs_that_differ_in_their_seeds_become_one():
    first, second = part("first", [1, 0], shift=1), part("second", [3, 1], shift=2)
    found = without_repetitions([first, second])
    (run,) = found
    assert (run.id, found.replaced, found.pooled) == ("second", (), ("first",))
    assert run.seeds == [0, 3, 1]
    np.testing.assert_array_equal(run.scores, np.concatenate([WHOLE[[0]] + 1, WHOLE[[3, 1]] + 2]))
    assert run.answers["seed"].tolist() == [0, 0, 3, 3, 1, 1]
    assert run.answers["score"].tolist() == [1, 1, 2, 2, 2, 2]
    assert [each["seed"] for each in run.conversations] == [0, 3, 1]
    assert found.samples("rank_order")["sample"].tolist() == [0, 1, 2]


def test_a_pooled_run_has_a_retest_only_if_all_have_one():
    both = [part(name, [seed], retests=pd.DataFrame({"seed": [seed]})) for name, seed in (("a", 0), ("b", 1))]
    (pooled,) = without_repetitions(both)
    assert pooled.retests["seed"].tolist() == [0, 1]
    (mixed,) = without_repetitions([both[0], part("b", [1])])
    assert mixed.retests is None
