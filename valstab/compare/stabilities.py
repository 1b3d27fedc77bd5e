"""The stabilities of several runs with what they generalise to, and which of them differ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from valstab.analysis.runs import Run, Runs
from valstab.results import wording
from valstab.statistics.inference import Conclusion, conclude, differences, expected_rho, significance_groups
from valstab.statistics.jackknife import Interval, Jackknifed, contrast, estimate, interval, p_against
from valstab.statistics.resampling import ALPHA, Exchange, StabilitySpec
from valstab.statistics.stability import Measure, Undefined, applicable_measures

MESSAGES = 10
"""Number of messages that a change over length is given for."""


@dataclass(frozen=True)
class Stabilities:
    """The stabilities of runs, and their jackknives.

    `table` has a row a run, in the order of the runs: label, n_messages, mean, se (over seeds; paper), n (samples), low
    and high (95%, for other people, topics and seeds), no_interval (why there is none), chance (95th percentile of
    chance), p, p_adjusted (over the runs), stable (more than chance), undefined (fraction), not_reported (why the mean
    says nothing; it is NaN then).
    """

    table: pd.DataFrame
    studies: tuple[Jackknifed, ...]
    """In the order of the rows."""
    runs: tuple[Run, ...]
    """In the order of the rows."""

    @property
    def design(self) -> str:
        """Numbers of people, topics and seeds of the first run."""
        return self._of_first(wording.design)

    @property
    def generalises_to(self) -> str:
        """What intervals and tests are for, with the design."""
        return self._of_first(wording.generalises_to)

    def of_labels(self) -> dict[str, Jackknifed]:
        """Return the jackknives of the stabilities that are reported, by label."""
        reported = self.table["not_reported"] == ""
        return {
            str(label): study
            for label, study, known in zip(self.table["label"], self.studies, reported, strict=True)
            if known
        }

    def pairs_within(self, setting: str) -> list[tuple[str, str]]:
        """Return the labels of each two reported runs with the same value of a setting."""
        reported = self.of_labels()
        values = [(run.label, run.settings.get(setting)) for run in self.runs if run.label in reported]
        return [(one, other) for (one, of_one), (other, of_other) in combinations(values, 2) if of_one == of_other]

    def ranked(self, pairs: Sequence[tuple[str, str]] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the reported stabilities, highest first; and the tests of some pairs of labels, or of each two.

        If each two are tested, models that share a letter of `group` don't differ significantly.
        """
        tests = differences(self.of_labels(), pairs=pairs, alpha=ALPHA)
        table = self.table[self.table["not_reported"] == ""].sort_values("mean", ascending=False, kind="stable")
        if pairs is not None:
            return table.reset_index(drop=True), tests
        groups = significance_groups(dict(zip(table["label"], table["mean"], strict=True)), tests)
        return table.assign(group=table["label"].map(groups)).reset_index(drop=True), tests

    def trends(self) -> pd.DataFrame:
        """Return how each label's stability changes with the length of the conversation.

        The slope of least squares over all its lengths, a contrast of the runs.

        Returns:
            The columns label, shortest, longest, first and last (stabilities there), change (for each 10 messages),
            low, high (95%), p, p_adjusted (over the labels). Labels with one length have no row.
        """
        rows = []
        reported = self.table[self.table["not_reported"] == ""]
        for label, part in reported.groupby("label", sort=False):
            ordered = part.sort_values("n_messages")
            if ordered["n_messages"].iloc[0] < ordered["n_messages"].iloc[-1]:
                change = self._slope(ordered.index.tolist())
                first, last = ordered.iloc[0], ordered.iloc[-1]
                rows.append(
                    (
                        label,
                        first["n_messages"],
                        last["n_messages"],
                        first["mean"],
                        last["mean"],
                        change.value,
                        change.low,
                        change.high,
                        change.p,
                    )
                )
        columns = ["label", "shortest", "longest", "first", "last", "change", "low", "high", "p"]
        return pd.DataFrame(rows, columns=columns).pipe(adjusted)

    def beside(self, references: Mapping[str, float], measure: Measure) -> pd.DataFrame:
        """Test each reported stability against references, such as those of humans.

        A correlation among few people is lower than among many. So a model is below a rank-order stability only if it
        is below what normal scores with this correlation have among as many people (`expected_rho`), and above it only
        if it is above the reference itself.

        Args:
            references: correlations among many people, by name.
            measure: of the stabilities.

        Returns:
            The columns label, name, reference, expected (among as many people), p (two-sided), p_adjusted (over all
            rows), place ("below", "above", or "" where that is not shown).
        """
        rows = []
        for label, study in self.of_labels().items():
            found = interval(estimate(study), correlation=True)
            people = study.without["persona"].size if "persona" in study.without else 0
            for name, reference in references.items():
                expected = expected_rho(reference, people) if measure == "rank_order" and people else reference
                nearest = min(max(found.value, expected), reference)
                place = "below" if found.value < expected else "above" if found.value > reference else ""
                rows.append((label, name, reference, expected, p_against(found, nearest) if place else 1.0, place))
        table = pd.DataFrame(rows, columns=["label", "name", "reference", "expected", "p", "place"]).pipe(adjusted)
        return table.assign(place=table["place"].where(table["p_adjusted"] <= ALPHA, ""))

    def _of_first(self, words: Callable[..., str]) -> str:
        return words(self.runs[0].scores, without_personas=self.runs[0].without_personas) if self.runs else ""

    def _slope(self, places: list[int]) -> Interval:
        lengths = self.table.loc[places, "n_messages"].to_numpy(float) / MESSAGES
        centred = lengths - lengths.mean()
        return interval(contrast([self.studies[place] for place in places], (centred / (centred**2).sum()).tolist()))


def stabilities(runs: Runs | Sequence[Run], measure: Measure, undefined: Undefined, resamples: int) -> Stabilities:
    """Compute a stability of each run to which it applies.

    Args:
        runs: the runs.
        measure: which stability.
        undefined: what an undefined correlation counts as.
        resamples: number of shuffles for chance.
    """
    some = [run for run in runs if measure in applicable_measures(run.scores, without_personas=run.without_personas)]
    found = [
        conclude(
            run.scores,
            StabilitySpec(measure, undefined, run.without_personas),
            exchange=Exchange(run.genders, run.sliding_orders),
            resamples=resamples,
        ).withhold(run.withheld)
        for run in some
    ]
    rows = [_row(run, each) for run, each in zip(some, found, strict=True)]
    table = pd.DataFrame(rows, columns=COLUMNS).pipe(adjusted)
    return Stabilities(
        table=table.assign(stable=table["p_adjusted"] <= ALPHA),
        studies=tuple(each.study for each in found),
        runs=tuple(some),
    )


COLUMNS = [
    "label", "n_messages", "mean", "se", "n", "low", "high", "no_interval", "chance", "p", "undefined", "not_reported",
]  # fmt: skip
"""Columns of `Stabilities.table` that one run determines."""


def adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """Add p_adjusted, by Benjamini and Hochberg over all rows; a p that is unknown counts as 1."""
    p = table["p"].fillna(1.0).to_numpy(dtype=float)
    return table.assign(p_adjusted=stats.false_discovery_control(p) if len(p) else p)


def _row(run: Run, found: Conclusion) -> tuple[object, ...]:
    stability = found.stability
    reported = not stability.why_not_reported
    numbers = (stability.mean, stability.se, int(stability.samples.count()), *found.interval[1:3])
    return (
        run.label,
        run.n_messages,
        *(numbers if reported else (np.nan, np.nan, 0, np.nan, np.nan)),
        found.why_no_interval,
        found.chance.high if reported else np.nan,
        found.chance.p if reported else 1.0,
        stability.undefined_fraction,
        stability.why_not_reported,
    )
