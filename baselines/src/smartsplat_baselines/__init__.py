"""The paper's baselines on the machinery of this codec, so that every cell of its Table 1 can be filled and checked.

``run(name, task)`` fits one method and returns what it renders and the bytes of a real file of it; ``decode`` renders a
file. Each module says what the method is, where it differs from its authors' program and what keeps it from failing.
Nothing of the codec imports this package.
"""

from smartsplat_baselines.blend import BlendRenderer
from smartsplat_baselines.methods import ABLATIONS, CODECS, METHODS, PAPER_METHODS, Fitted, Task, decode, run
from smartsplat_baselines.model import ProgressCallback

__all__ = [
    "ABLATIONS",
    "CODECS",
    "METHODS",
    "PAPER_METHODS",
    "BlendRenderer",
    "Fitted",
    "ProgressCallback",
    "Task",
    "decode",
    "run",
]
