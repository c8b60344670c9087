"""Functions as commands: with the options that all share, and failures as exit codes.

typer reads a command's options from its signature. So each function gets a callback whose signature has the shared
options too, and whose own parameters keep their names: an option is written down once, in `options`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_type_hints

import typer

from wvsctl import failures, options
from wvsctl.config import Flags, OutputMode, read_settings
from wvsctl.errors import WvsctlError
from wvsctl.output import Output
from wvsctl.session import INTERRUPTED, Session


@dataclass(frozen=True)
class Common:
    """The shared options, as one command or `wvsctl` itself got them."""

    api_url: str | None = None
    as_json: bool = False
    output: OutputMode | None = None
    config: Path | None = None

    def over(self, other: Common) -> Common:
        """Ours where we say something, else the other's."""
        says_form = self.as_json or self.output
        return Common(
            self.api_url or other.api_url,
            self.as_json if says_form else other.as_json,
            self.output if says_form else other.output,
            self.config or other.config,
        )


def _shared(
    *,
    api_url: options.ApiUrl = None,
    as_json: options.Json = False,
    output: options.Output = None,
    config: options.ConfigFile = None,
) -> Common:
    return Common(api_url, as_json, output, config)


_SHARED_PARAMETERS: Final = tuple(inspect.signature(_shared).parameters.values())
_SHARED_HINTS: Final = {
    name: hint for name, hint in get_type_hints(_shared, include_extras=True).items() if name != "return"
}


def with_shared_options(function: Callable[..., None]) -> Callable[..., None]:
    """`function(context, common, …)` as a callback with the shared options besides its own."""
    signature = inspect.signature(function)
    own = [p for name, p in signature.parameters.items() if name != "common"]

    @functools.wraps(function)
    def callback(**given: Any) -> None:
        common = Common(*(given.pop(name) for name in _SHARED_HINTS))
        function(common=common, **given)

    hints_ = get_type_hints(function, include_extras=True)
    every = {**hints_, **_SHARED_HINTS}
    parameters = [p.replace(annotation=every[p.name]) for p in [*own, *_SHARED_PARAMETERS]]
    callback.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    callback.__annotations__ = {p.name: every[p.name] for p in parameters}
    return callback


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register `function(session, …)` as a command: with the shared options, and failures as exit codes."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(context: typer.Context, common: Common, **given: Any) -> None:
            asked = common.over(context.obj or Common())
            _run(functools.partial(function, **given), asked, context.command_path.partition(" ")[2], given)

        own = [p for p in inspect.signature(function).parameters.values() if p.name != "session"]
        first = list(inspect.signature(run).parameters.values())[:2]
        own_hints = get_type_hints(function, include_extras=True)
        named = [*first, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own)]
        run.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
        run.__annotations__ = {"context": typer.Context, "common": Common, **own_hints}
        run.__annotations__.pop("session")
        run.__doc__ = function.__doc__
        app.command(name)(with_shared_options(run))
        return function

    return register


def _run(function: Callable[[Session], None], common: Common, name: str, given: dict[str, Any]) -> None:
    form = OutputMode.JSON if common.as_json else common.output
    output = Output(form or OutputMode.TABLE)
    session: Session | None = None
    try:
        values = {
            "api_url": common.api_url,
            "output": form,
            "timeout": given.get("timeout"),
            "metrics_urls": given.get("metrics_url") or None,
            "prometheus_url": given.get("prometheus_url"),
        }
        settings = read_settings(Flags(common.config, values))
        output = Output(settings.output)
        session = Session(settings, output, name, wsid=given.get("wsid"))
        function(session)
    except WvsctlError as error:
        raise typer.Exit(failures.tell(error, output, session, name)) from None
    except (KeyboardInterrupt, typer.Abort):
        if session and session.key:
            output.say(f"interrupted: it may have been done; repeat it with --idempotency-key {session.key}")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if session:
            session.close()
