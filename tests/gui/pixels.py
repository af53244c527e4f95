"""What is painted."""

from __future__ import annotations

import numpy as np
from PySide6.QtGui import QImage


def colours_of(image: QImage) -> set[int]:
    """Return each colour that is in the image, as `QColor.rgb()` has it."""
    pixels = image.convertToFormat(QImage.Format.Format_ARGB32)
    # Its lines are of whole pixels, so nothing is between them.
    return {int(one) for one in np.unique(np.frombuffer(pixels.constBits(), np.uint32))}
