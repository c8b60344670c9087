"""`wvsctl doctor`: what is wrong between here and WVS, and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx
import typer
from rich.console import Group, RenderableType

from wvsctl import options
from wvsctl.binding import command
from wvsctl.errors import ApiError, Unreachable
from wvsctl.models import ApiVersion
from wvsctl.output import lines, printable, table
from wvsctl.scrape import base_of, fetch
from wvsctl.session import REFUSED, Session

SUPPORTED: Final = "1"
SLOW_SECONDS: Final = 2.0
SKEW_SECONDS: Final = 5.0
"""The Date header has whole seconds, and the answer took its time."""
_SAID: Final = 200


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `advice`: the way out, if it is wrong."""

    name: str
    ok: bool
    detail: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All of them."""

    ok: bool
    checks: list[Check]


def register(app: typer.Typer) -> None:
    """As a command of its own, in no group."""
    command(app, "doctor")(doctor)


def doctor(session: Session, metrics_url: options.MetricsUrls = None) -> None:
    """Is the API reachable, which version, ready, quick, and do the clocks agree? Exit code 1 if something is wrong."""
    checks = [*_of_api(session), *(_of_port(session, url) for url in session.settings.metrics_urls)]
    diagnosis = Diagnosis(all(check.ok for check in checks), checks)
    session.output.result(diagnosis, lambda: _told(diagnosis))
    if not diagnosis.ok:
        raise typer.Exit(REFUSED)


def _of_api(session: Session) -> Iterator[Check]:
    url = session.settings.api_url
    try:
        found = session.client.api_version()
    except Unreachable as error:
        yield Check("api", False, str(error), "is it running there? Say --api-url or WVS_API_URL, and look at its log")
        return
    except ApiError as error:
        yield Check("api", False, error.message, f"is {url} the API of WVS, and allowed in WVS_ALLOWED_HOSTS?")
        return
    yield Check("api", True, f"{url} answers")
    yield _of_version(found)
    yield _of_database(session)
    slow = found.seconds > SLOW_SECONDS
    yield Check(
        "latency", not slow, f"{found.seconds * 1000:.0f} ms", "look at its load and at the network" if slow else None
    )
    yield _of_clock(found)


def _of_version(found: ApiVersion) -> Check:
    ok = found.version == SUPPORTED and found.title.startswith("WVS")
    advice = (
        None
        if ok
        else f"this wvsctl speaks version {SUPPORTED} of WVS: take the wvsctl of that release, or another URL"
    )
    return Check("version", ok, f"{found.title or 'unnamed'}, version {found.version or 'unknown'}", advice)


def _of_database(session: Session) -> Check:
    """A list says that the API reaches its database."""
    try:
        session.client.list_workspaces(limit=1)
    except (ApiError, Unreachable) as error:
        return Check(
            "database", False, str(error), "the API does not reach its database: look at its log and at /readyz"
        )
    return Check("database", True, "the API reaches its database")


def _of_clock(found: ApiVersion) -> Check:
    if found.date is None:
        return Check("clock", True, "the answer has no Date")
    skew = (datetime.now(UTC) - found.date).total_seconds()
    ok = abs(skew) <= SKEW_SECONDS + found.seconds
    detail = "as the API's" if ok else f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the API's"
    return Check(
        "clock", ok, detail, None if ok else "set one of the two by NTP: times in lists and logs do not fit together"
    )


def _of_port(session: Session, url: str) -> Check:
    """/readyz of a metrics port: 503 says what is down."""
    ready = f"{base_of(url)}/readyz"
    try:
        answer = fetch(ready, session.settings.request_timeout)
    except httpx.HTTPError as error:
        return Check("ready", False, f"{ready}: {error}", "is that process running, and is this its metrics port?")
    if answer.is_success:
        return Check("ready", True, ready)
    said = printable(" ".join(answer.text.split()))[:_SAID]
    return Check("ready", False, f"{ready}: {answer.status_code} {said}", "mend what it says is down; its log says why")


def _told(diagnosis: Diagnosis) -> RenderableType:
    rows = [(check.name, "ok" if check.ok else "wrong", check.detail) for check in diagnosis.checks]
    advice = [f"{check.name}: {check.advice}" for check in diagnosis.checks if check.advice]
    return Group(table(("CHECK", "", "WHAT"), rows, free=("WHAT",)), lines(*advice))
