"""Grades learners' own layers, losses and functions: ``xpcnn.check(theirs, like=...)``.

- `checking.py` has :func:`check`: what `like` says, and which tests that means.
- `report.py`, `mistakes.py`: the result, and the mistakes known by name, in English and Japanese.
- `calling.py`, `dialects.py`, `players.py`, `runs.py`, `functions.py`: how a stranger's class or
  pair of functions is made, called and read.
- `running.py` is the plan that all layers share; `layers.py`, `norms.py`, `losses.py`,
  `optimizers.py` (by `rules.py`) and `columns.py` say what is right, and what each mistake would
  give.
- `windows.py`: convolution and pooling by plain NumPy, with everything that can be done wrong.
"""

from xpcnn.grading.checking import check
from xpcnn.grading.mistakes import MISTAKES
from xpcnn.grading.report import Check, Report

__all__ = ["MISTAKES", "Check", "Report", "check"]
