"""How long the API takes, beside a bare DRF view with one insert, one select, or one page of as many rows.

Both are served by gunicorn's threads in one process, with as many of them, on the same database and pool settings, and
asked in turn. Worker and scheduler do not run meanwhile: what is measured is the API, not the clones beside it.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import httpx
import psycopg

from benchmarks.bare.schema import CREATE, FILL, TABLE
from benchmarks.load import Ask, Connection, Side, in_turn
from benchmarks.rows import Row, Spread, at_most
from benchmarks.site import Site
from wvs_project.stack.waiting import LOOPBACK, free_port, wait_until

_ALLOWED: Final = 3.0
_START_SECONDS: Final = 30.0
_PAGE: Final = 20
_ITEM: Final = json.dumps({"name": "an item", "message": "a message", "params": {"snapshot_id": "snap-1"}}).encode()


def rows(site: Site) -> Iterator[Row]:
    """POST, GET and list, with each number of clients."""
    clients = site.size((1, 8, 32), (2,))
    requests, rounds = site.size(960, 8), site.size(4, 1)
    api = site.client()
    wsids = [api.workspace() for _ in range(max(clients))]
    with site.without("worker", "scheduler"), bare_project(site) as bare:
        url = site.environment["WVS_API_URL"]
        tasks = _waiting_tasks(url, wsids)
        for count in clients:
            for what, ours, than, beside in _pairs(wsids, tasks, bare):
                sides = [Side("wvs", url, ours), Side("bare", bare, than)]
                share = in_turn(sides, clients=count, each=requests // count, rounds=rounds)
                yield Row(
                    f"{what}, {count} client{'s' * (count > 1)}",
                    "ms",
                    Spread.of(sides[0].seconds, 1e3),
                    beside,
                    Spread.of(sides[1].seconds, 1e3),
                    must=at_most(ratio=_ALLOWED),
                    notes={"clients' share of a core": round(share, 2)},
                )
        _empty(site.dsn, wsids)
    for wsid in wsids:
        api.clean_up(wsid)


@contextmanager
def bare_project(site: Site) -> Iterator[str]:
    """The bare project's URL while it is served."""
    address = f"{LOOPBACK}:{free_port()}"
    threads = site.program("api").environment.get("WVS_API_THREADS", "128")
    server = ("-m", "gunicorn", "--workers", "1", "--threads", threads, "--worker-class", "gthread", "--bind", address)
    options = ("--keep-alive", "75", "--no-control-socket", "benchmarks.bare.wsgi:application")
    with psycopg.connect(site.dsn, autocommit=True, options="-c search_path=wvs") as connection:
        connection.execute(CREATE)
        connection.execute(FILL)
        try:
            with site.beside("bare", (*server, *options), DJANGO_SETTINGS_MODULE="benchmarks.bare.settings"):
                wait_until(lambda: _answers(address), limit=_START_SECONDS, what="the bare project answers")
                yield f"http://{address}"
        finally:
            connection.execute(f"DROP TABLE {TABLE}")


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/items/1").is_success
    except httpx.TransportError:
        return False


def _pairs(wsids: Sequence[str], tasks: Sequence[str], bare: str) -> Iterator[tuple[str, Ask, Ask, str]]:
    """What is asked of WVS, and what of the bare project."""
    number = itertools.count()

    def one(things: Sequence[str]) -> str:
        return things[next(number) % len(things)]

    def post(connection: Connection) -> object:
        return connection.ask("POST", f"/v1/workspaces/{one(wsids)}/snapshots", b"{}", Idempotency_Key=uuid.uuid4().hex)

    yield "POST snapshot", post, lambda connection: connection.ask("POST", "/items", _ITEM), "one insert"
    yield (
        "GET task",
        lambda connection: connection.ask("GET", f"/v1/tasks/{one(tasks)}"),
        lambda connection: connection.ask("GET", f"/items/{next(number) % 50 + 1}"),
        "one select",
    )
    yield (
        "list tasks",
        lambda connection: connection.ask("GET", f"/v1/tasks?limit={_PAGE}"),
        lambda connection: connection.ask("GET", "/items"),
        f"one select of {_PAGE} rows",
    )


def _waiting_tasks(url: str, wsids: Sequence[str]) -> list[str]:
    """Some that can be looked at."""
    connection = Connection(url)
    answers = [
        connection.ask("POST", f"/v1/workspaces/{wsid}/snapshots", b"{}", Idempotency_Key=uuid.uuid4().hex)
        for wsid in wsids
        for _ in range(2)
    ]
    connection.close()
    return [json.loads(answer)["task_id"] for answer in answers]


def _empty(dsn: str, wsids: Sequence[str]) -> None:
    """What waits is taken back in one statement: thousands of snapshots of nothing would take minutes."""
    with psycopg.connect(dsn, options="-c search_path=wvs") as connection:
        connection.execute(
            "UPDATE tasks SET status = 'CANCELED', ended_at = now() WHERE status = 'PENDING' AND wsid = ANY(%s)",
            [list(wsids)],
        )
