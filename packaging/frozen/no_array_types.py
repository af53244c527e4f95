"""A hook that runs before the program: it replaces the types for annotations of numpy's arrays.

Making numpy's own types takes a twentieth of the time until the window appears. Type checkers
read the source, and a running program only subscripts the types, so it does not need them.
"""

import sys
from types import ModuleType
from typing import Any


class _Annotation:
    """A type that can be subscripted and can be part of a union."""

    def __class_getitem__(cls, item: Any) -> Any:
        return cls


def _stand_in(name: str, **names: Any) -> None:
    module = ModuleType(name)
    vars(module).update(names)
    sys.modules[name] = module


_stand_in("numpy._typing", ArrayLike=Any, DTypeLike=Any, NBitBase=Any, NDArray=_Annotation)
# `numpy.typing` itself is real; it imports this module for its documentation.
_stand_in("numpy._typing._add_docstring", _docstrings="")
