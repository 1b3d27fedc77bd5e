"""Consistency of single answers, by hand, against scikit-learn, and against chance."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from valstab.statistics.consistency import item_consistency


def answered(scores, probabilities=None) -> pd.DataFrame:
    """Answers of the shape (seed, context, persona, item); probabilities with one dimension more."""
    scores = np.asarray(scores, dtype=float)
    names = ["seed", "context", "persona", "item"]
    table = pd.MultiIndex.from_product([range(size) for size in scores.shape], names=names).to_frame(index=False)
    table["score"] = scores.ravel()
    if probabilities is not None:
        flat = np.asarray(probabilities, dtype=float).reshape(len(table), -1)
        with np.errstate(divide="ignore"):
            table[[f"logprob_{place}" for place in range(1, flat.shape[1] + 1)]] = np.log(flat)
    return table


def test_by_hand():
    # One item, three people in two contexts: 1 2 3 and 1 3 3.
    (row,) = item_consistency(answered([[[[1], [2], [3]], [[1], [3], [3]]]])).to_dict("records")
    assert row["between"] == "topics"
    assert row["same"] == pytest.approx(2 / 3)
    assert row["chance"] == pytest.approx((1 * 1 + 1 * 0 + 1 * 2) / 9)
    # Observed 1/3; expected 2/3 + 8/9 + (2 - 7/3)².
    assert row["kappa"] == pytest.approx(1 - (1 / 3) / (2 / 3 + 8 / 9 + 1 / 9))
    assert row["sd"] == pytest.approx(math.sqrt(1 / 3 / 2))
    assert math.isnan(row["divergence"])


def test_kappa_is_scikit_learns_and_pools_disagreements_over_items_and_pairs():
    rng = np.random.default_rng(0)
    taste = rng.integers(1, 7, size=(40, 3))
    scores = np.where(rng.random((1, 3, 40, 3)) < 0.6, taste, rng.integers(1, 7, size=(1, 3, 40, 3)))
    one = item_consistency(answered(scores[:, :2, :, :1]))
    x, y = scores[0, 0, :, 0], scores[0, 1, :, 0]
    assert one["kappa"].item() == pytest.approx(cohen_kappa_score(x, y, weights="quadratic"))
    observed, expected = [], []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        for item in range(3):
            x, y = scores[0, a, :, item], scores[0, b, :, item]
            observed.append(np.mean((x - y) ** 2))
            expected.append(np.mean(np.subtract.outer(x, y) ** 2))
    found = item_consistency(answered(scores)).iloc[0]
    assert found["kappa"] == pytest.approx(1 - np.mean(observed) / np.mean(expected))
    assert found["sd"] == pytest.approx(np.sqrt(scores.var(axis=1, ddof=1).mean()))


def test_divergence_by_hand():
    # Certain of different options: one bit. From (1, 0) to (1/2, 1/2): H(3/4, 1/4) - 1/2. The mass on letters is no part.
    certain = answered([[[[1]], [[2]]]], [[[[[0.5, 0]]], [[[0, 0.9]]]]])
    assert item_consistency(certain)["divergence"].item() == pytest.approx(1)
    half = answered([[[[1]], [[1]]]], [[[[[1, 0]]], [[[0.2, 0.2]]]]])
    entropy = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert item_consistency(half)["divergence"].item() == pytest.approx(entropy - 0.5)


def test_between_topics_seeds_and_orders():
    rng = np.random.default_rng(1)
    topic = rng.integers(1, 7, size=(1, 4, 10, 5))
    answers = answered(np.broadcast_to(topic, (3, 4, 10, 5)))
    retests = answers.assign(score=answers["score"] + 1, retest=1)
    found = item_consistency(answers, retests).set_index("between")
    assert found.index.tolist() == ["topics", "seeds", "orders"]
    assert found.loc["seeds", ["same", "kappa", "sd"]].tolist() == [1, 1, 0]
    assert found.loc["orders", ["same", "sd"]].tolist() == pytest.approx([0, math.sqrt(0.5)])
    assert found.loc["topics", "same"] < 0.5
    assert item_consistency(answers[(answers["seed"] == 0) & (answers["context"] == 0)]).empty


def test_random_answers_agree_no_more_than_chance():
    rng = np.random.default_rng(2)
    # An item has answers that everybody prefers: they agree often, as random pairs of people do.
    prefers = rng.dirichlet(np.ones(6), size=40)
    scores = np.stack([rng.choice(6, size=(3, 4, 60), p=each) for each in prefers], axis=-1)
    found = item_consistency(answered(scores))
    assert (found["same"] > 0.2).all()
    assert found["same"].to_numpy() == pytest.approx(found["chance"].to_numpy(), abs=0.01)
    assert found["kappa"].to_numpy() == pytest.approx(0, abs=0.02)


def test_what_is_missing_is_left_out_and_what_is_undefined_is_so():
    full = item_consistency(answered([[[[1], [2], [3]], [[1], [3], [3]]]]))
    lacking = item_consistency(answered([[[[1], [2], [3], [5]], [[1], [3], [3], [math.nan]]]]))
    pd.testing.assert_frame_equal(full, lacking)
    assert math.isnan(item_consistency(answered([[[[2], [2]], [[2], [2]]]]))["kappa"].item())
    assert math.isnan(item_consistency(answered([[[[1]], [[2]]]]))["kappa"].item())
    nothing = item_consistency(answered(np.full((1, 2, 3, 1), math.nan))).drop(columns="between")
    assert nothing.isna().all(axis=None)
