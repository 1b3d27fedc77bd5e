"""What is asked of a comparison, and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from valstab.analysis.runs import Runs
from valstab.config.comparison import FigureConfig
from valstab.statistics.stability import Measure, Undefined


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison: tables and pictures by name, the main ones first, and sentences."""

    tables: Mapping[str, pd.DataFrame]
    pictures: Mapping[str, Figure]
    sentences: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Metrics for MLflow, by name."""


@dataclass(frozen=True)
class Request:
    """The runs to compare, and how."""

    figure: FigureConfig
    runs: Runs
    measure: Measure
    undefined: Undefined
    resamples: int

    @property
    def reference(self) -> Mapping[str, float]:
        """The figure's reference lines for the measure, by name."""
        return self.figure.reference.get(self.measure, {})
