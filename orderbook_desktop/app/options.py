"""Command-line options made from the settings' one declaration."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from orderbook_desktop.app.settings import Settings, load_settings

P = ParamSpec("P")


def with_settings(
    *names: str,
) -> Callable[[Callable[Concatenate[Settings, P], None]], Callable[..., None]]:
    """Give a command an option for each of the settings `names` (default: all of them).

    The command gets the loaded `Settings` as its first argument. Values are passed on as
    text: it is the declaration that checks them, and says what is accepted. Of a command
    with subcommands nothing happens where one of these is named.
    """
    chosen = names or tuple(Settings.model_fields)

    def decorate(
        command: Callable[Concatenate[Settings, P], None],
    ) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*args: Any, **kwargs: Any) -> None:
            # Not always a `typer.Context`, whatever the annotation says: that is its subclass.
            context = next((kwargs[name] for name in contexts), None)
            if context is not None and context.invoked_subcommand is not None:
                _refuse_misplaced(context, context.invoked_subcommand)
                return
            given = {name: kwargs.pop(name) for name in chosen}
            command(load_settings(**given), *args, **kwargs)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        contexts = [one.name for one in own if one.annotation is typer.Context]
        options = [_parameter(name) for name in chosen]
        run.__signature__ = inspect.Signature(own + options)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in own + options}
        return run

    return decorate


def _refuse_misplaced(context: typer.Context, subcommand: str) -> None:
    """Fail on options before a subcommand: in silence they would have no effect."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            option = parameter.opts[-1]
            context.fail(f"{option} has no effect before {subcommand}; options follow the command")


def _parameter(name: str) -> inspect.Parameter:
    field = Settings.model_fields[name]
    option = typer.Option(
        Settings.option(name),
        metavar=_metavar(field.annotation),
        help=f"{field.description} (variable {Settings.variable(name)})",
        show_default=False,
        rich_help_panel="Settings",
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )


def _metavar(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(one.value) for one in annotation)
    return {int: "NUMBER", float: "NUMBER", Path: "FOLDER"}.get(annotation, "TEXT")
