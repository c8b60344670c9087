"""What `run_worker` and `run_scheduler` have in common: a safe start, health on a port, an end on SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from executor import failpoints
from executor.local import ExecutorConfigError
from observation import tracing
from observation.logs import configure_logging
from wvs_project.config import Config, ConfigError, get_config
from wvs_project.health import checks_for, start_health_server


class ServiceCommand(BaseCommand):
    """A long-running process in the foreground. Settings that are missing or unsafe stop it before it begins."""

    service: str
    """What its traces call it, unless OTEL_SERVICE_NAME does."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the settings, then serve until told to stop."""
        try:
            config = get_config()
            config.refuse_exposure()
            failpoints.configure(config.failpoints)
            configure_logging(config.log_level, config.log_format, config.secrets)
            tracing.start(config.traces, self.service)
            try:
                self.serve(config)
            finally:
                tracing.stop()
        except (ConfigError, ExecutorConfigError) as error:
            raise CommandError(str(error)) from None

    def serve(self, config: Config) -> None:
        """Run until SIGTERM or SIGINT."""
        raise NotImplementedError


@contextmanager
def healthy(config: Config) -> Iterator[None]:
    """Health and metrics are served meanwhile. Raises ConfigError when the port is taken."""
    try:
        server = start_health_server(config.metrics_addr, checks_for(config))
    except OSError as error:
        raise ConfigError(f"WVS_METRICS_ADDR={config.metrics_addr}: {error.strerror}") from None
    try:
        yield
    finally:
        server.close()


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
