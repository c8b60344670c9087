"""The gRPC server: what it listens on, its health and reflection, and how it ends (SPEC §7)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from executor.addresses import Address
from executor.config import ExecutorConfigError
from executor.contract import StopReason
from executor.links import KEEPALIVE
from executor.runs import Runs
from executor.service import ExecutorService
from executor.tls import Tls
from executor.wire import executor_pb2
from executor.wire.executor_pb2_grpc import add_ExecutorServiceServicer_to_server

SERVICE: Final = executor_pb2.DESCRIPTOR.services_by_name["ExecutorService"].full_name
THREADS: Final = 256
"""More than all workers together have: each of their threads makes one call at a time."""
STOPPING_SECONDS: Final = 30.0
"""What stopping a run may take: its child is killed within 5 s, and what it left is deleted for 20 s at most."""
_OPTIONS: Final = (
    *KEEPALIVE,
    # Else two executors could share a port, and each get half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)
_log = structlog.get_logger(__name__)


class ExecutorServer:
    """Serves from `start` to `stop`."""

    def __init__(self, service: ExecutorService, runs: Runs, *, addr: Address, tls: Tls | None) -> None:
        """Raises ExecutorConfigError when the address cannot be bound."""
        self._runs = runs
        self._server = grpc.server(ThreadPoolExecutor(THREADS, "grpc"), options=list(_OPTIONS))
        self._health = health.HealthServicer()
        self._ending = False
        self._saying = threading.Lock()
        add_ExecutorServiceServicer_to_server(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        try:
            if tls is None:
                port = self._server.add_insecure_port(str(addr))
            else:
                port = self._server.add_secure_port(str(addr), tls.for_server())
        except RuntimeError as error:
            raise ExecutorConfigError(f"EXECUTOR_GRPC_ADDR={addr}: {error}") from None
        self.addr = Address(addr.host, port)

    def start(self) -> None:
        """Serve. Nothing is SERVING before `say_healthy`."""
        self.say_healthy(False)
        self._server.start()

    def say_healthy(self, healthy: bool) -> None:
        """What grpc.health.v1 answers, for the server as a whole and for the service; nothing else after stop()."""
        status = health_pb2.HealthCheckResponse.SERVING if healthy else health_pb2.HealthCheckResponse.NOT_SERVING
        with self._saying:
            if not self._ending:
                for name in ("", SERVICE):
                    self._health.set(name, status)

    def stop(self, grace: float) -> None:
        """Take no new call, let those that run finish within `grace` seconds, stop the rest and wait until they have.

        Those are told that it is a shutdown, so that their tasks are handed back.
        """
        _log.info("executor.stopping", active=self._runs.active, grace_seconds=grace)
        with self._saying:
            self._ending = True
            self._health.enter_graceful_shutdown()
        overdue = threading.Timer(grace, self._runs.stop_all, [StopReason.SHUTDOWN])
        overdue.daemon = True
        overdue.start()
        self._server.stop(grace + STOPPING_SECONDS).wait()
        overdue.cancel()
        _log.info("executor.stopped")
