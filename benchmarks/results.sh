#!/usr/bin/env bash
# Make every run and comparison behind docs/results.md, in the current folder: its MLflow database, pictures and tables.
#
#   mkdir results && cd results && uv run bash ../benchmarks/results.sh [BASE_MODEL.gguf]
#   uv run python ../benchmarks/results_page.py comparisons ../docs/results.md
#
# The base model is Gemma 3 270M; without its file its runs are left out. Started again, the script resumes from the store.
# PVQ on the embedded model has the paper's scale (two hours on two cores). The other runs are smaller: PEOPLE personas,
# TOPICS, two seeds.
set -euo pipefail
PEOPLE=${PEOPLE:-6}
TOPICS=${TOPICS:-[joke,history,chess]}
LENGTHS=${LENGTHS:-3,11,23,43}
BASE=${1:-}
PYTHON=${PYTHON:-python}

measure() { "$PYTHON" -m valstab engine.compiled=true "$@"; }
small() { measure "$@" "population.limit=$PEOPLE" "topics.names=$TOPICS" "seeds=[0,1]"; }
base() { if [ -n "$BASE" ]; then small "$@" model=auto "model.path=$BASE" model.name=gemma3_270m; fi; }
both() { small "$@" model=smollm2_135m; base "$@"; }

# compare NAME SETTINGS: into comparisons/NAME
compare() { "$PYTHON" -m valstab compare "hydra.run.dir=comparisons/$1" "${@:2}"; }

measure +experiment=fig4a model=smollm2_135m tracking.experiment=full_scale
small +experiment=fig4a model=smollm2_135m model.quantization=none,8bit,4bit
base +experiment=fig4a
both +experiment=fig4b
both +experiment=fig5
both +experiment=fig8a
both +experiment=fig8b
both +experiment=fig8c
small +experiment=fig6 model=smollm2_135m "n_messages=$LENGTHS"
PEOPLE=3 small +experiment=fig7 model=smollm2_135m "n_messages=$LENGTHS"
measure +experiment=fig10 model=smollm2_135m "population.limit=$PEOPLE"
measure +experiment=fig13 model=smollm2_135m
measure +experiment=fig14 model=smollm2_135m "population.limit=$PEOPLE" "seeds=[0,1]"
small +experiment=fig15 model=smollm2_135m
small +experiment=ceiling model=smollm2_135m

compare full figure=appraisal "experiments=[full_scale]"
compare full_contexts figure=fig10 "experiments=[full_scale]"
compare fig12 figure=fig12 "experiments=[full_scale]"
for figure in fig4a fig4b fig5 fig6 fig7 fig8a fig8b fig8c fig9 fig10 fig13 fig14 fig15 fig16; do
  compare "$figure" "figure=$figure"
done
if [ -n "$BASE" ]; then  # tests between two models
  for figure in fig17 fig18 fig19 fig20 fig21; do compare "$figure" "figure=$figure"; done
fi
compare ceiling figure=appraisal "experiments=[ceiling]"
compare leaderboard
