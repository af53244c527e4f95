"""Runs before the program: stands in for the names that numpy's arrays are annotated with.

Making numpy's own takes a twentieth of the time until the window is there, for nobody: whoever
checks types reads the source. A running program subscripts the names and never looks inside.
"""

import sys
from types import ModuleType
from typing import Any


class _Annotation:
    """Can be subscripted, and be one of several types."""

    def __class_getitem__(cls, item: Any) -> Any:
        return cls


def _stand_in(name: str, **names: Any) -> None:
    module = ModuleType(name)
    vars(module).update(names)
    sys.modules[name] = module


_stand_in("numpy._typing", ArrayLike=Any, DTypeLike=Any, NBitBase=Any, NDArray=_Annotation)
# Of the documentation of `numpy.typing`, which is real but for these two.
_stand_in("numpy._typing._add_docstring", _docstrings="")
