"""gunicorn's worker and logger as the API needs them: JSON for what fails before Django sees it, one log for all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from django.http import JsonResponse
from gunicorn.glogging import Logger
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from wvs_project.http import metrics
from wvs_project.http.exceptions import Failure, nearest_code
from wvs_project.ids import new_request_id

_STATUSES: Final = {errors.LimitRequestLine: 414, errors.LimitRequestHeaders: 431, errors.ExpectationFailed: 417}
_REASONS: Final = {400: "Bad Request", 414: "URI Too Long", 417: "Expectation Failed", 431: "Header Fields Too Large"}


class ApiWorker(ThreadWorker):  # type: ignore[misc]  # untyped
    """Threads. `on_stop` is called, in a thread, when the worker is told to end, so that nobody waits on."""

    on_stop: Callable[[], None] | None = None

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        """Answer what is no HTTP request, or one too large, as every failure is answered."""
        status = 400 if isinstance(exc, errors.ParseException) else 500
        status = next((code for kind, code in _STATUSES.items() if isinstance(exc, kind)), status)
        if status == 500:
            self.log.exception("Error handling request")
        else:
            self.log.warning("Invalid request from ip=%s: %s", addr[0] if addr else "", exc)
        metrics.count_refused(status)
        message = str(exc) if status != 500 else "something went wrong on our side"
        _send_failure(client, Failure(status, nearest_code(status), message))

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM."""
        self._stopping()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT, SIGINT."""
        self._stopping()
        super().handle_quit(sig, frame)

    def _stopping(self) -> None:
        # Not here: a signal may interrupt whoever holds the lock that on_stop takes.
        if self.on_stop is not None:
            threading.Thread(target=self.on_stop, name="wvs-stopping", daemon=True).start()


def _send_failure(client: Any, failure: Failure) -> None:
    request_id = new_request_id()
    answer = JsonResponse(failure.body(request_id))
    head = (
        f"HTTP/1.1 {failure.status} {_REASONS.get(failure.status, 'Internal Server Error')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(answer.content)}\r\n"
        f"X-Request-Id: {request_id}\r\nConnection: close\r\n\r\n"
    )
    try:
        client.sendall(head.encode("latin-1") + answer.content)
    except OSError:
        logging.getLogger("gunicorn.error").debug("the client was gone before it could be told of its error")


class RootLogger(Logger):  # type: ignore[misc]  # untyped
    """gunicorn's own lines through our logging; requests are logged by our middleware, with their ids."""

    def setup(self, cfg: Any) -> None:
        """No handlers of its own."""
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.propagate = True
        self.error_log.setLevel(logging.NOTSET)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Nothing."""
