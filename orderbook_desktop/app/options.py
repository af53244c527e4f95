"""Command-line options made from the declaration of the settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from orderbook_desktop.app.secrets_given import SecretOnCommandLine, others_can_read
from orderbook_desktop.app.settings import Settings, load_settings

P = ParamSpec("P")


def with_settings(
    *names: str,
) -> Callable[[Callable[Concatenate[Settings, P], None]], Callable[..., None]]:
    """Give a command an option for each of the settings `names` (default: all of them).

    The command gets the loaded `Settings` as its first argument. Values are passed on as text;
    the declaration checks them and says which values are accepted. A setting that a file can
    hold also gets the option that names the file. A secret on the command line is refused. A
    command with subcommands does not run when a subcommand is named.
    """
    files = [file for file in map(Settings.file_of, names) if file is not None]
    chosen = (*names, *files) if names else tuple(Settings.model_fields)

    def decorate(
        command: Callable[Concatenate[Settings, P], None],
    ) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*args: Any, **kwargs: Any) -> None:
            # The object may be a `click.Context`; the annotation names its subclass.
            context = next((kwargs[name] for name in contexts), None)
            if context is not None and context.invoked_subcommand is not None:
                _refuse_misplaced(context, context.invoked_subcommand)
                return
            given = {name: kwargs.pop(name) for name in chosen}
            settings = _loaded(given)
            command(settings, *args, **kwargs)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        contexts = [parameter.name for parameter in own if parameter.annotation is typer.Context]
        options = [_parameter(name) for name in chosen]
        run.__signature__ = inspect.Signature(own + options)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in own + options}
        return run

    return decorate


def _loaded(given: dict[str, str | None]) -> Settings:
    """Return the settings; warn if other users can read the file of a secret.

    Raises `SecretOnCommandLine`, and the errors of `load_settings`.
    """
    for name, value in given.items():
        if value is not None and Settings.is_secret(name, value):
            file_option = Settings.option(Settings.file_of(name) or name)
            raise SecretOnCommandLine(Settings.option(name), Settings.variable(name), file_option)
    settings = load_settings(**given)
    for path in filter(others_can_read, settings.secret_files):
        typer.echo(
            f"orderbook-desktop: other users of this computer can read {path}; `chmod 600` keeps"
            " its secret.",
            err=True,
        )
    return settings


def _refuse_misplaced(context: typer.Context, subcommand: str) -> None:
    """Fail on options before a subcommand, which would be ignored in silence."""
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
        # The option of a secret exists, so that its refusal can name the variable and the file.
        hidden=Settings.is_secret(name),
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
        return "|".join(str(choice.value) for choice in annotation)
    named = {int: "NUMBER", float: "NUMBER", Path: "FOLDER", Path | None: "FILE"}
    return named.get(annotation, "TEXT")
