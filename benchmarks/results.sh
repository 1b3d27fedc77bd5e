#!/usr/bin/env bash
# Make every run and comparison behind docs/results.md, in the current folder: its MLflow database, pictures and tables.
#
#   mkdir results && cd results && uv run bash ../benchmarks/results.sh CHAT_MODEL [PART...]
#   uv run python ../benchmarks/results_page.py comparisons ../docs/results.md
#
# CHAT_MODEL is Qwen2.5-Coder-1.5B-Instruct, a GGUF file or a folder (docs/own-model.md). A PART is one of those below;
# all if none is named. Started again, the script goes on from the store. The part `scale` takes four minutes on an H200
# and hours on two cores: there, PEOPLE, TOPICS, SEEDS, LENGTHS and TASK make the others smaller. SETTINGS go to all runs.
set -euo pipefail
CHAT=$1
shift
PARTS=${*:-values scale embedded precision personas religion donation stealing lengths placement compare}
PEOPLE=${PEOPLE:-24}
TOPICS=${TOPICS:-[poem,joke,history,chess,grammar]}
SEEDS=${SEEDS:-[0,1]}
LENGTHS=${LENGTHS:-3,11,23}
TASK=${TASK:-pvq}
PYTHON=${PYTHON:-python}

# shellcheck disable=SC2086  # settings are words
measure() { "$PYTHON" -m valstab ${SETTINGS:-} "$@" || failed=1; }  # and go on with the next
chat() { measure "$@" model=auto "model.path=$CHAT" model.name=qwen25_coder_1_5b; }
reduced() { "$1" "${@:2}" "population.limit=$PEOPLE" "topics.names=$TOPICS" "seeds=$SEEDS"; }
repetitions() { "$1" "${@:2}" population.permutations=20 "topics.names=$TOPICS"; }
described() {
  measure hydra.mode=MULTIRUN "$@" population=described_people task=pvq_short "topics.names=$TOPICS" "seeds=$SEEDS" max_new_tokens=30 \
    tracking.experiment=described
}
# figure NAME SETTINGS: into comparisons/NAME; parts that were not run are left out
figure() { "$PYTHON" -m valstab compare "hydra.run.dir=comparisons/$1" "${@:2}" || failed=1; }

values() {
  described model=smollm2_135m,smollm2_135m_values n_messages=1
  described model=smollm2_135m_values n_messages=3,7,23
  described model=smollm2_135m_values n_messages=1 model.quantization=8bit,4bit
  described model=smollm2_135m_values n_messages=1 model.dtype=float32
}

scale() { chat +experiment=fig4a tracking.experiment=full_scale "topics.names=$TOPICS"; }

embedded() { reduced measure +experiment=fig4a model=smollm2_135m; }

precision() { reduced chat +experiment=fig4a "task=$TASK" model.quantization=none,8bit,4bit; }

personas() {
  repetitions chat +experiment=fig5 "task=$TASK"
  reduced chat +experiment=fig4b "task=$TASK"
}

religion() { reduced chat +experiment=fig8c; }

donation() { reduced chat +experiment=fig8b; }

stealing() { reduced chat +experiment=fig8a; }

lengths() {
  reduced chat +experiment=fig6 "n_messages=$LENGTHS" "task=$TASK"
  repetitions chat +experiment=fig7 "n_messages=$LENGTHS" "task=$TASK"
}

placement() {
  reduced chat +experiment=fig15 model.system_prompt=true,false "task=$TASK"
  reduced chat +experiment=ceiling "task=$TASK"
}

compare() {
  figure described_lengths figure=lines "experiments=[described]" "filter=params.quantization = 'none'"
  figure described_precisions figure=bars "experiments=[described]" \
    "filter=params.model = 'smollm2_135m_values' and params.n_messages = '1'"
  figure full figure=appraisal "experiments=[full_scale]"
  figure full_ipsative figure=appraisal figure.measure=ipsative "experiments=[full_scale]"
  for name in fig4a fig4b fig6; do figure "${name}_ipsative" "figure=$name" figure.measure=ipsative; done
  figure precisions figure=bars figure.measure=ipsative "experiments=[precisions]"
  figure full_contexts figure=fig10 "experiments=[full_scale]"
  figure fig12 figure=fig12 "experiments=[full_scale]"
  figure ceiling figure=appraisal "experiments=[ceiling]"
  for name in fig4a fig4b fig5 fig6 fig7 fig8a fig8b fig8c fig15; do figure "$name" "figure=$name"; done
}

for part in $PARTS; do "$part"; done
exit "${failed:-0}"
