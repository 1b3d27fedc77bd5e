"""Prompts in the paper's English."""

from functools import partial

from tests.support.composed import compose_run
from valstab.protocol import prompts

ENGLISH = compose_run().language
question_prompt = partial(prompts.question_prompt, language=ENGLISH)
reply_prompt = partial(prompts.reply_prompt, language=ENGLISH)
stop_pattern = partial(prompts.stop_pattern, language=ENGLISH)
