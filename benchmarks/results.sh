#!/usr/bin/env bash
# Make every run and comparison behind docs/results.md, in the current folder: its MLflow database, pictures and tables.
#
#   mkdir results && cd results && bash ../benchmarks/results.sh [BASE_MODEL.gguf]
#
# The base model is Gemma 3 270M; without the file its runs are left out. Started again, it goes on where it was: the
# store has what was done. PVQ on the embedded model is at the paper's scale (hours on two cores), the rest smaller:
# PEOPLE personas, three topics, two seeds.
set -euo pipefail
PEOPLE=${PEOPLE:-12}
TOPICS=${TOPICS:-[joke,history,chess]}
BASE=${1:-}
PYTHON=${PYTHON:-python}

measure() { "$PYTHON" -m valstab engine.compiled=true "$@"; }
compare() { "$PYTHON" -m valstab.compare "$@"; }
small() { measure "$@" "population.limit=$PEOPLE" "topics.names=$TOPICS" "seeds=[0,1]"; }

# Three precisions of the embedded model, and the base model, for the figures that set models side by side.
models() {
  small "$@" model=smollm2_135m quantization=none,8bit,4bit
  if [ -n "$BASE" ]; then small "$@" model=auto "model.path=$BASE" model.name=gemma3_270m; fi
}

measure +experiment=fig4a model=smollm2_135m tracking.experiment=full_scale
models +experiment=fig4a
models +experiment=fig4b
models +experiment=fig5
models +experiment=fig8c
small +experiment=fig8a model=smollm2_135m population.limit=8
small +experiment=fig8b model=smollm2_135m population.limit=8
small +experiment=fig6 model=smollm2_135m n_messages=3,7,11,23,43
small +experiment=fig7 model=smollm2_135m n_messages=3,11,43
measure +experiment=fig10 model=smollm2_135m "population.limit=$PEOPLE"
measure +experiment=fig12 model=smollm2_135m
measure +experiment=fig13 model=smollm2_135m
measure +experiment=fig14 model=smollm2_135m "population.limit=$PEOPLE" "seeds=[0,1]"
small +experiment=fig15 model=smollm2_135m
small +experiment=ceiling model=smollm2_135m

for figure in fig4a fig4b fig5 fig6 fig7 fig8a fig8b fig8c fig9 fig10 fig12 fig13 fig14 fig15 fig16 fig17 fig18 fig21; do
  compare "figure=$figure"
done
compare figure=appraisal "experiments=[full_scale]"
compare figure=appraisal "experiments=[ceiling]"
compare
