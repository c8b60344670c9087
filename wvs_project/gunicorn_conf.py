"""How the API is served: `gunicorn -c wvs_project/gunicorn_conf.py` (SPEC §1, §10, §11; ADR 6).

One process with threads; health and metrics on a port of their own. It refuses to start where somebody off this
machine could use an API that asks nobody who they are (RK-05).
"""

from __future__ import annotations

import math
import socket
import sys
from typing import Any

from django.core.checks.urls import check_url_config as check_routes

from observation import tracing
from observation.logs import configure_logging
from tasks import waiting
from wvs_project.config import ConfigError, get_config
from wvs_project.health import HealthServer, checks_for, open_listener, start_health_server
from wvs_project.http import metrics
from wvs_project.http.server import ApiWorker, RootLogger

try:
    _settings = get_config()
    _settings.refuse_exposure()
except ConfigError as error:
    sys.exit(f"wvs: {error}")
configure_logging(_settings.log_level, _settings.log_format, _settings.secrets)

wsgi_app = "wvs_project.wsgi:application"
bind = str(_settings.listen_addr)
workers = 1
threads = _settings.api_threads
worker_class = ApiWorker
logger_class = RootLogger
graceful_timeout = math.ceil(_settings.shutdown_timeout)
# Longer than a load balancer's usual minute, so that it is the client who closes. Idle connections cost no thread.
keepalive = 75
limit_request_line = 8190
# One more door, in the home directory of whoever started it: nobody needs it.
control_socket_disable = True
# Whether a proxy of ours is in front says WVS_BEHIND_TLS, to Django: no header is believed before (ADR 16).
forwarded_allow_ips = ""

_metrics_listener: socket.socket | None = None
_health: HealthServer | None = None


def on_starting(server: Any) -> None:
    """In the master: take the metrics port, so that a worker that is replaced hands it on."""
    global _metrics_listener
    if server.cfg.workers != 1:
        # Each would count for itself, and a scrape would meet any of them (SPEC §11).
        sys.exit("wvs: the API is one process with threads (ADR 6): more threads by WVS_API_THREADS, not more workers")
    try:
        _metrics_listener = open_listener(_settings.metrics_addr)
    except OSError as error:
        sys.exit(f"wvs: WVS_METRICS_ADDR={_settings.metrics_addr}: {error.strerror}")


def post_worker_init(worker: ApiWorker) -> None:
    """In the worker, Django being set up. It is ready when its routes are read, not at the first request."""
    global _health
    # Not in the master: the exporter has a thread, and no thread survives the fork.
    tracing.start(_settings.traces, "wvs-api")
    check_routes(None)
    metrics.initialise()
    _health = start_health_server(_settings.metrics_addr, checks_for(_settings), listener=_metrics_listener)
    worker.on_stop = waiting.listener().release


def worker_exit(server: Any, worker: ApiWorker) -> None:
    """In the worker, at its end."""
    if _health is not None:
        _health.close()
    waiting.listener().close()
    tracing.stop()
