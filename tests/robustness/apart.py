"""Make a small run of the embedded model in a process of its own, and print what it said and answered as JSON.

python -m tests.robustness.apart --batch-size 1
"""

import argparse
import json
import tempfile
from pathlib import Path

from tests.robustness.models import EMBEDDED, TOPICS, before_each_pass, gather, small_plan
from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.huggingface.engine import TransformersEngine

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--topic-by-topic", action="store_true")
    parser.add_argument("--interrupted", type=int, default=0, metavar="PASS")
    options = parser.parse_args()
    sampling = SamplingConfig(temperature=0.2, top_p=0.9, top_k=50)
    model = ModelConfig(name="smollm2_135m", path=EMBEDDED, dtype=options.dtype, sampling=sampling)
    engine = TransformersEngine(model, "none", device="cpu", batch_size=options.batch_size)

    def interrupt(number: int) -> None:
        """Do what Ctrl-C does."""
        if number == options.interrupted:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        try:
            with before_each_pass(engine, interrupt):
                if options.topic_by_topic:
                    for topic in TOPICS:
                        gather(small_plan("max_new_tokens=20", f"topics.names=[{topic}]"), engine, store)
                elif options.interrupted:
                    gather(small_plan("max_new_tokens=20"), engine, store)
        except KeyboardInterrupt:
            options.interrupted = 0
        if options.interrupted:
            parser.error("the run was over before the interruption")
        outcome = gather(small_plan("max_new_tokens=20"), engine, store)
    answers = json.loads(outcome.answers.to_json(orient="records", double_precision=15))
    print(f"\n{json.dumps({'said': outcome.said, 'answers': answers, 'reused': outcome.reused})}")
