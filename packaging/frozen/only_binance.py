"""A hook that runs before the program: it replaces ccxt's two packages, which import all exchanges.

Of ccxt's exchanges only Binance's module is in the bundle. That module and its base classes are
real. The replacements give them the errors and the base class that they import.
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
