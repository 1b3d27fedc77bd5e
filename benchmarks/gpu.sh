#!/usr/bin/env bash
# Measure what docs/speed.md says of GPUs: some 20 minutes on one GPU of 80 GB, without a network.
#
#   bash benchmarks/gpu.sh FOLDER [VLLM_PYTHON]       VLLM_PYTHON: that of an environment with vLLM (docs/engines.md)
#   TRIAL=1 bash benchmarks/gpu.sh FOLDER             the same commands with a tiny model on the CPU, in some minutes
#
# FOLDER receives a model of Mistral 7B's shape with made weights, and what each part prints. A part whose file is there
# is left out, so the script goes on where it was stopped. PYTHON is valstab's.
set -euo pipefail
folder=$1
vllm=${2:+--vllm $2}
here=$(cd "$(dirname "$0")" && pwd)
PYTHON=${PYTHON:-python}
if [ -n "${TRIAL:-}" ]; then
  device=cpu dtype=float32 lengths="3 5" conversations=1 at_once="1 4" precisions=float32 tokens=3 messages=3
  shape="hidden_size=64 intermediate_size=96 num_hidden_layers=2 num_attention_heads=4 num_key_value_heads=2"
else
  device=cuda dtype=bfloat16 lengths="3 43" conversations=12 at_once="1 8 32 64 128 256 512"
  precisions="float32 bfloat16 float16 8bit 4bit" tokens=100 messages=43
  shape="sliding_window=32768"
fi
model="model=auto model.path=$folder/model model.format=chat model.system_prompt=true engine.device=$device"
mkdir -p "$folder"

part() {  # NAME COMMAND...: what the command prints goes to FOLDER/NAME.txt
  local file=$folder/$1.txt
  shift
  if [ ! -e "$file" ]; then
    echo "$(date +%T) $file" >&2
    "$@" >"$file.draft" 2>&1 || { tail -5 "$file.draft" >&2; return 1; }
    mv "$file.draft" "$file"
  fi
}

speed() {  # ARGUMENTS... --settings SETTING...
  "$PYTHON" "$here/speed.py" --dtypes "$dtype" "$@"
}

# shellcheck disable=SC2086  # lists of words
{
  part model "$PYTHON" "$here/made_model.py" "$folder/model" --type mistral --set $shape
  part scoring speed --parts scoring --lengths $lengths --conversations "$conversations" $vllm --settings $model
  part scoring_compiled speed --parts scoring --lengths $lengths --conversations "$conversations" \
    --settings $model engine.compiled=true
  part scoring_small speed --parts scoring --conversations "$conversations" $vllm --settings engine.device=$device
  part generation speed --parts generation --at-once $at_once --tokens "$tokens" $vllm --settings $model
  part generation_small speed --parts generation --at-once $at_once --tokens "$tokens" $vllm --settings engine.device=$device
  # Every token has another length: cuDNN's attention, which is off, would make a plan for each.
  part long_conversations env "MLFLOW_TRACKING_URI=sqlite:///$folder/mlflow.db" "$PYTHON" -m valstab $model model.dtype=$dtype "n_messages=$messages" "max_new_tokens=$tokens" \
    population.limit=18 'topics.names=[joke,chess]' 'seeds=[0]' store.path=null "hydra.run.dir=$folder/long"
  part precision "$PYTHON" "$here/precision.py" $precisions --settings engine.device=$device \
    ${TRIAL:+population.limit=1 'topics.names=[joke,chess]' max_new_tokens=2}
}
echo "all parts are in $folder"
