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

MISTRAL_SYSTEM_FIRST = """\
{{- bos_token }}{% for message in messages if message.role != 'system' %}{% if message.role == 'user' %}\
{{- ' [INST] ' + (messages[0].content + '\\n\\n' if loop.first and messages[0].role == 'system' else '') }}\
{{- message.content + ' [/INST]' }}{% else %}{{ ' ' + message.content + eos_token }}{% endif %}{% endfor %}"""
MOVING = """\
{{- bos_token }}{% for message in messages if message.role != 'system' %}{% if message.role == 'user' %}\
{{- '[INST]' + (messages[0].content + '\\n\\n' if loop.last and messages[0].role == 'system' else '') }}\
{{- message.content + '[/INST]' }}{% else %}{{ message.content + eos_token }}{% endif %}{% endfor %}"""
"""A template that puts the system message before the last user text, if that is the last message."""
DATED_DEFAULT = """\
{{- bos_token }}{% set system = messages[0].content if messages[0].role == 'system' else \
'You are a helper. The date is ' + strftime_now('%Y-%m-%d') + '.' %}{{ '[SYSTEM_PROMPT]' + system + '[/SYSTEM_PROMPT]' }}\
{%- for message in messages if message.role != 'system' %}{% if message.role == 'user' %}\
{{- '[INST]' + message.content + '[/INST]' }}{% else %}{{ message.content + eos_token }}{% endif %}{% endfor %}"""
BLOCK_SYSTEM = CHATML.replace(
    "message.content", "(message.content[0].text if message.role == 'system' else message.content)"
)
"""A template that wants the system message as a list of blocks."""
BLOCKS = """\
{%- for message in messages %}{{ message.role.upper() + ':' }}{% for block in message.content %}\
{%- if block.type == 'text' %}{{ ' ' + block.text }}{% endif %}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}\
{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""
"""A template that wants blocks of every message, writes nothing for a plain text, and has labels."""
TALKATIVE = CHATML.replace(
    "{{ '<|im_start|>' +",
    "{% if message.role == 'assistant' and not message.content %}"
    "{{ raise_exception('assistant message must have a string') }}{% endif %}{{ '<|im_start|>' +",
)
"""A template that refuses an empty message of the assistant."""
SMOLLM3 = """\
{%- set system = messages[0].content if messages[0].role == 'system' else 'You are a helper.' %}\
{%- set quiet = enable_thinking is defined and not enable_thinking %}\
{{- '<|im_start|>system\\n## Metadata\\n\\nToday Date: ' + strftime_now('%d %B %Y') + '\\n\\n' + system + '<|im_end|>\\n' }}\
{%- for message in messages if message.role != 'system' %}{{ '<|im_start|>' + message.role + '\\n' }}\
{{- '<think>\\n\\n</think>\\n' if message.role == 'assistant' and quiet else '' }}\
{{- message.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}\
{{- '<|im_start|>assistant\\n' + ('<think>\\n\\n</think>\\n' if quiet else '') }}{% endif %}"""
THINKING = """\
{{- bos_token }}{% for message in messages %}{{ '<|' + message.role + '|>' }}{% if message.role == 'assistant' %}\
{{- message.content.split('</think>')[-1] + eos_token }}{% else %}{{ message.content }}{% endif %}{% endfor %}\
{%- if add_generation_prompt %}{{ '<|assistant|><think>\\n' }}{% endif %}"""
"""A template that opens a thought and has no switch, and that drops past thoughts."""
SWITCHED = THINKING.replace(
    "'<|assistant|><think>\\n'", "'<|assistant|>' + ('<think>\\n' if thinking | default(true) else '</think>')"
)
"""A template with a switch for thoughts, which are on."""
MUSING = THINKING.replace("think>", "inner_prefix>")
"""A template that opens a thought under a name of its own."""
CHANNELS = """\
{{- '<|start|>system<|message|>Today: ' + strftime_now('%Y-%m-%d') + '<|end|>' }}{% for message in messages %}\
{{- '<|start|>' + ('developer' if message.role == 'system' else message.role) }}\
{{- '<|channel|>final' if message.role == 'assistant' else '' }}{{ '<|message|>' + message.content + '<|end|>' }}\
{%- endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"""
RESPONSE = """\
{{- bos_token }}{% for message in messages %}{{ '<|TURN|><|' + message.role.upper() + '|>' }}\
{{- '<|RESPONSE|>' if message.role == 'assistant' else '' }}{{ message.content + '<|END|>' }}{% endfor %}\
{%- if add_generation_prompt %}{{ '<|TURN|><|ASSISTANT|>' }}{% endif %}"""
"""A template that opens the turn without the marker that its own assistant texts have."""
LABELS = """\
{{- bos_token + 'A chat between a person and a helper.\\nRules: none.' }}{% for message in messages %}\
{{- '\\n\\n' + {'user': 'USER', 'assistant': 'ASSISTANT', 'system': 'RULES'}[message.role] + ': ' + message.content }}\
{%- endfor %}{% if add_generation_prompt %}{{ '\\n\\nASSISTANT:' }}{% endif %}"""
REPEATING = CHATML + "{% if messages[0].role == 'system' %}{{ messages[0].content + '\\n' }}{% endif %}"
OTHER_TURN = CHATML.replace("'<|im_start|>assistant\\n'", "'<|im_start|>bot\\n'")
