"""Tables in Markdown."""

import pandas as pd

from valstab.results.markdown import table


def test_a_small_p_is_not_nothing():
    content = pd.DataFrame({"label": ["a|b", "7"], "p": [0.25, 4e-9], "power": [0.0004, 1.0], "p_adjusted": [1, 1e-3]})
    head, _, first, second = [
        [cell.strip() for cell in line.strip().strip("|").replace(r"\|", "¦").split("|")]
        for line in table(content).splitlines()
    ]
    assert head == ["label", "p", "power", "p_adjusted"]
    assert first == ["a¦b", "0.250", "0.000", "1.000"]
    assert second == ["7", "&lt;0.001", "1.000", "0.001"]
