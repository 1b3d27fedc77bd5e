"""Texts that YAML takes for something else come back as they are written."""

from valstab.config.as_written import restore_texts
from valstab.config.inputs import TaskConfig, TopicsConfig

OPTION = """\
name: 007
options: [No, Yes, Off, 1e3, maybe, "False"]
scores: [0, 1, 2, 3, 4, 5]
text: "{text}"
key: on
centred: yes
"""


def test_texts_are_as_written_and_other_types_as_read(tmp_path):
    file = tmp_path / "yes_no.yaml"
    file.write_text(OPTION, encoding="utf-8")
    options = ["False", "True", "False", "1000.0", "maybe", "False"]
    scores = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    task = TaskConfig(name="7", options=options, scores=scores, text="{text}", key="True", centred=True)
    restore_texts(task, file)
    assert task.name == "007"
    assert task.options == ["No", "Yes", "Off", "1e3", "maybe", "False"]
    assert (task.scores, task.text, task.key, task.centred) == (scores, "{text}", "on", True)


def test_what_was_changed_on_the_command_line_stays(tmp_path):
    file = tmp_path / "topics.yaml"
    file.write_text("name: No\nnames: [No, Yes]\n", encoding="utf-8")
    topics = TopicsConfig(name="mine", names=["True"])
    restore_texts(topics, file)
    assert (topics.name, topics.names) == ("mine", ["True"])
