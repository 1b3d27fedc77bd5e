"""Chat templates in the formats of the model families that valstab has options for, after their descriptions."""

ALTERNATE = """\
{%- for message in rest %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"""
SPLIT = """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' %}\
{%- set rest = messages[1:] if messages[0].role == 'system' else messages %}"""

LLAMA2 = (
    SPLIT
    + ALTERNATE
    + """\
{%- set head = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' if loop.first and system else '' %}\
{%- if message.role == 'user' %}{{ bos_token + '[INST] ' + (head + message.content).strip() + ' [/INST]' }}\
{%- else %}{{ ' ' + message.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""
)
MISTRAL = (
    "{{ bos_token }}{% set rest = messages %}"
    + ALTERNATE
    + """\
{%- if message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}\
{%- else %}{{ message.content + eos_token }}{% endif %}{% endfor %}"""
)
ZEPHYR = """\
{%- for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}{% endfor %}\
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""
CHATML = """\
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}\
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
QWEN3 = CHATML.replace(
    "<|im_start|>assistant\\n' }}{% endif %}",
    "<|im_start|>assistant\\n' }}{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}",
)
LLAMA3 = """\
{{- bos_token }}{% set system = messages[0].content if messages[0].role == 'system' else '' %}\
{%- set rest = messages[1:] if messages[0].role == 'system' else messages %}\
{%- if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}\
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' + system + '<|eot_id|>' }}\
{%- for message in rest %}\
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content.strip() + '<|eot_id|>' }}\
{%- endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""
GEMMA3 = (
    "{{ bos_token }}"
    + SPLIT
    + ALTERNATE
    + """\
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' }}\
{{- system + '\\n\\n' if loop.first and system else '' }}{{ message.content.strip() + '<end_of_turn>\\n' }}{% endfor %}\
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
)
GEMMA2 = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + GEMMA3
PHI4 = """\
{%- for message in messages %}\
{{- '<|im_start|>' + message.role + '<|im_sep|>' + message.content + '<|im_end|>' }}{% endfor %}\
{%- if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"""
FORGETFUL = CHATML.replace("for message in messages", "for message in messages if message.role != 'system'")
"""A template that leaves the system message out without an error."""
