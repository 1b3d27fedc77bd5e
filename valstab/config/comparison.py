"""The settings of a comparison: the dataclasses that Hydra checks keys and types against."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from valstab.config.schema import TrackingConfig

PICTURE_FORMATS = ("png", "svg", "pdf")
"""Values of `formats`."""


FIGURE_KINDS = (
    *("bars", "tests", "lines", "context_pairs", "values_and_behaviour", "components"),
    *("neutral_profile", "neutral_order", "appraisal", "leaderboard", "authors_leaderboard", "axes"),
    *("drift", "judges"),
)
"""Values of `figure.kind`."""


@dataclass
class FigureConfig:
    """A figure: which finished runs it compares, and how."""

    name: str = MISSING
    """The figure's name in MLflow and in file names."""
    title: str = MISSING
    """The title above pictures and tables."""
    kind: str = MISSING
    """The kind of figure: `bars`, `lines` or another of `valstab.config.comparison.FIGURE_KINDS`."""
    experiments: list[str] = field(default_factory=list)
    """The MLflow experiments whose runs are compared; all if empty."""
    measure: str = "rank_order"
    """The stability that is compared: `rank_order` or `ipsative`."""
    reference: dict[str, dict[str, float]] = field(default_factory=dict)
    """Reference lines, such as human stabilities: for each measure, the value of each by its name."""
    pairs_within: str | None = None
    """A setting, such as `model.name`: of bars, only the pairs with the same value of it are tested; null tests all."""
    values: list[str] = field(default_factory=list)
    """The values (keys of the PVQ) whose scores are plotted against a behaviour."""
    tasks: list[str] = field(default_factory=lambda: ["pvq", "donation"])
    """The questionnaire and the behaviour whose scores are correlated: the names of two tasks."""
    labels: str | None = None
    """Labels of the personas: a CSV file with the columns name and label, or a run of `task=character`."""


@dataclass
class CompareConfig:
    """The settings of `python -m valstab compare`: which finished runs to compare, and how."""

    figure: FigureConfig = MISSING
    experiments: list[str] | None = None
    """The names of MLflow experiments whose runs are compared; null uses the figure's own."""
    filter: str | None = None
    """A filter in the syntax of MLflow's search, for instance "params.quantization = 'none'"."""
    runs: list[str] = field(default_factory=list)
    """Ids of MLflow runs; the id of a sweep selects all of its jobs."""
    folders: list[str] = field(default_factory=list)
    """Folders with the results of a run, of a sweep (in `multirun/`), or of the paper's published code."""
    undefined: str = "zero"
    """How to count an undefined correlation, of which one side is constant: `zero` as 0; `drop` leaves it out."""
    rounding: str = "nine_decimals"
    """Which scores count as equal in ranks: equal to `nine_decimals`, or with `none`, as in the paper's published code,
    only the same floating-point numbers."""
    resamples: int = 1000
    """The number of random shuffles for chance levels and their p."""
    labels: dict[str, str] = field(default_factory=dict)
    """Names that tables and pictures show instead of the runs' own; `+names=paper` has those of the paper's models."""
    formats: list[str] = field(default_factory=lambda: ["png", "svg"])
    """The formats of pictures: `png`, `svg` and `pdf`."""
    titles: bool = True
    """Whether pictures have a title; a paper's have a caption."""
    tracking: TrackingConfig = field(default_factory=lambda: TrackingConfig(experiment="comparisons"))
