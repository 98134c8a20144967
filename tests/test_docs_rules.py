"""The examples of docs/rules.md run, in the order of the page."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"


def test_examples_run(capsys):
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 4
    names = {}
    for place, example in enumerate(examples):
        exec(compile(example, f"{PAGE.name}, example {place + 1}", "exec"), names)
    shown = capsys.readouterr().out
    assert "100 % of the clips are recognised" in shown
    assert "Tess(net=12-60-4, seed=1) [(60, 12), (60,), (4, 60), (4,)]" in shown
    assert "TracesPropagation(net=12-60-40-4, trace_leak=0.977, seed=7)" in shown
    assert "['0.bias', '0.weight', '1.recurrent_weights', '2.weight', '4.bias', '4.weight']" in shown
