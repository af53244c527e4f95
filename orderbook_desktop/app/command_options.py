"""The options of several commands, and of commands with many options, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Port = Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0: any free port.")]
Host = Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")]
OptionalSymbol = Annotated[str | None, typer.Argument(metavar="SYMBOL|FILE", show_default=False)]
PackedFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Read a packed file (.obd); with one symbol in it, it may stand in SYMBOL's place.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]

# Of `replay`.
Speed = Annotated[
    str,
    typer.Option(
        metavar="N",
        help="Play N times as fast as it was (0.01 to 10000), or max: as fast as it goes.",
    ),
]
Order = Annotated[
    str,
    typer.Option(
        metavar="received|exchange",
        help="Play in the order of receipt, or in that of the exchange's times.",
    ),
]
AtOnce = Annotated[
    bool, typer.Option("--at-once", help="Begin without waiting for a program to subscribe.")
]
Delay = Annotated[
    float,
    typer.Option(
        min=0.0, max=3600.0, metavar="SECONDS", help="Begin so long after the first subscription."
    ),
]
SkipGaps = Annotated[
    bool, typer.Option("--skip-gaps", help="Go on behind a gap of the book at once.")
]
Stay = Annotated[bool, typer.Option("--stay", help="Serve the last book at the end, until Ctrl-C.")]

# Of `heatmap`.
BinMs = Annotated[
    int | None,
    typer.Option("--bin", metavar="MS", min=1, help="Width of a column.", show_default=False),
]
PriceStep = Annotated[
    str | None, typer.Option(metavar="PRICE", help="Height of a row.", show_default=False)
]
LowestPrice = Annotated[
    str | None, typer.Option(metavar="PRICE", help="The lowest price.", show_default=False)
]
HighestPrice = Annotated[
    str | None, typer.Option(metavar="PRICE", help="The highest price.", show_default=False)
]
Width = Annotated[int, typer.Option(min=480, max=16_384, help="Pixels of a picture.")]
Height = Annotated[int, typer.Option(min=240, max=16_384, help="Pixels of a picture.")]
