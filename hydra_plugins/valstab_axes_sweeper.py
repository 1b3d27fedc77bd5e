"""Run each combination of levels of a study's axes as a job of a sweep: `+axes=[option_order,answer]`.

It must be in `hydra_plugins`, since Hydra looks for plugins there alone.
"""

from typing import TYPE_CHECKING, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override

from valstab.sweeps.overrides import jobs_of

if TYPE_CHECKING:
    from omegaconf import DictConfig


class AxesSweeper(BasicSweeper):
    """Hydra's own sweeper, whose jobs are also multiplied by the levels of the setting `axes`."""

    def split_arguments(  # type: ignore[override] # a static method, which knows no configuration
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Return the overrides of each job, in batches."""
        jobs = jobs_of(cast("DictConfig", self.config), overrides)
        return [list(each) for each in self.split_overrides_to_chunks(jobs, max_batch_size)]
