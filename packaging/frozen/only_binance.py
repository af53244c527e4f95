"""Runs before the program: stands in for ccxt's two packages, whose own import every exchange.

Only Binance's module is in the bundle. It and its base classes are real; what they take from
the packages (errors, and the base class) is handed on.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_BUNDLE = Path(vars(sys)["_MEIPASS"])


def _stand_in(name: str, *sources: str) -> ModuleType:
    def find(wanted: str) -> Any:
        for source in sources:
            module = importlib.import_module(source)
            if hasattr(module, wanted):
                return getattr(module, wanted)
        raise AttributeError(f"the bundle's {name} has no {wanted}")

    package = ModuleType(name)
    package.__path__ = [str(_BUNDLE.joinpath(*name.split(".")))]
    package.__getattr__ = find  # type: ignore[method-assign]
    return package


for _package in (
    _stand_in("ccxt", "ccxt.base.errors", "ccxt.base.exchange"),
    _stand_in("ccxt.async_support", "ccxt.base.errors", "ccxt.async_support.base.exchange"),
):
    sys.modules[_package.__name__] = _package
