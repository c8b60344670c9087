"""One connection to one executor: its settings, calls that a stop cancels, and what a lost call is (SPEC §7)."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from executor.carried import metadata
from executor.contract import StopSignal
from executor.tls import Tls
from executor.wire.executor_pb2_grpc import ExecutorServiceStub

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")
MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""An inventory names every tree of a workspace."""
KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Of gRPC's own pings, one of which is nearly always under way: no other is sent before its minute is over.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
)
PATIENCE_SECONDS: Final = 10.0
"""For a sign of life: as long as a connection is believed that nothing comes from."""
DOUBT_SECONDS: Final = 2.0
"""When somebody has waited for it so long, nobody else does: an executor that hangs must not hold all of a worker."""
_PULSE_SECONDS: Final = 0.2
_OPTIONS: Final = (
    *KEEPALIVE,
    # A dead executor is told from a slow one at once, and one that came back is found soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # What is repeated, and when, is the task engine's decision.
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # Links to one address share no connection: two processes' worth of them in one must behave as they would apart.
    ("grpc.use_local_subchannel_pool", 1),
)


class Lost(Exception):
    """The call ended without an answer: nobody knows what became of what it asked for."""

    def __init__(self, addr: str, code: grpc.StatusCode, details: str | None) -> None:
        super().__init__(f"executor {addr}: {code.name}: {details or 'no more is known'}")
        self.timed_out = code is grpc.StatusCode.DEADLINE_EXCEEDED


class _Call(Protocol):
    """What can be canceled."""

    def cancel(self) -> object: ...


class Link:
    """Thread-safe. Connects when it is first used, and again whenever it has to."""

    def __init__(self, addr: str, tls: Tls | None) -> None:
        self.addr = addr
        options = list(_OPTIONS)
        if tls is None:
            self._channel = grpc.insecure_channel(addr, options)
        else:
            self._channel = grpc.secure_channel(addr, tls.for_channel(), options)
        self.stub = ExecutorServiceStub(self._channel)
        self._check = health_pb2_grpc.HealthStub(self._channel).Check  # type: ignore[attr-defined]  # it has no types
        self._asking = threading.Lock()
        self._sign: grpc.Future[object] | None = None
        self._asked_at = 0.0

    def reach(self, stop: StopSignal | None = None) -> None:
        """Return when the executor answers at all; it was asked for nothing. Raises Lost, and Stopped.

        Who comes while another one is asking waits for the same answer, and not for long.
        """
        with self._asking:
            sign = asked_before = self._sign
            if sign is None or sign.done():
                sign = self._sign = self._check.future(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
                self._asked_at = time.monotonic()
            asked_at, first = self._asked_at, sign is not asked_before
        while not _has_come(sign):
            if stop is not None:
                stop.check()
            if not first and time.monotonic() >= asked_at + DOUBT_SECONDS:
                raise Lost(self.addr, grpc.StatusCode.UNAVAILABLE, f"no sign of life for {DOUBT_SECONDS:g} s")
        self._answer_of(sign)

    def stream(
        self, method: grpc.UnaryStreamMultiCallable[Ask, Answer], wire: Ask, *, stop: StopSignal, timeout: float
    ) -> Generator[Answer, None, None]:
        """The answers as they come. Canceled by the stop, and when nobody reads on. Raises Lost."""
        call = method(wire, timeout=timeout, metadata=metadata())
        with canceled_by(stop, call):
            try:
                yield from call
            except grpc.RpcError as error:
                raise self._lost(error) from None
            finally:
                call.cancel()

    def ask(
        self,
        method: grpc.UnaryUnaryMultiCallable[Ask, Answer],
        wire: Ask,
        *,
        stop: StopSignal | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """The one answer. Canceled by the stop. Raises Lost."""
        call = method.future(wire, timeout=timeout, metadata=metadata())
        if stop is None:
            return self._answer_of(call)
        with canceled_by(stop, call):
            return self._answer_of(call)

    def close(self) -> None:
        """Calls that are under way are lost."""
        self._channel.close()

    def _answer_of(self, call: grpc.Future[Answer]) -> Answer:
        try:
            return call.result()
        except grpc.FutureCancelledError:
            raise Lost(self.addr, grpc.StatusCode.CANCELLED, "stopped") from None
        except grpc.RpcError as error:
            raise self._lost(error) from None

    def _lost(self, error: grpc.RpcError) -> Lost:
        call = cast(grpc.Call, error)  # what a call raises is itself
        return Lost(self.addr, call.code(), call.details())


def _has_come(call: grpc.Future[object]) -> bool:
    """Whether it is over, waited for for a moment."""
    try:
        call.exception(_PULSE_SECONDS)
    except grpc.FutureTimeoutError:
        return False
    except grpc.FutureCancelledError:
        return True
    return True


@contextmanager
def canceled_by(stop: StopSignal, call: _Call) -> Iterator[None]:
    """The call is canceled when the stop comes while the context lasts."""
    over = os.eventfd(0, os.EFD_CLOEXEC)

    def wait() -> None:
        # poll, not select: a worker may hold more than 1024 descriptors.
        poller = select.poll()
        poller.register(over, select.POLLIN)
        poller.register(stop.fileno(), select.POLLIN)
        if over not in {fd for fd, _ in poller.poll()}:
            call.cancel()

    waiter = threading.Thread(target=wait, name="canceler", daemon=True)
    waiter.start()
    try:
        yield
    finally:
        os.eventfd_write(over, 1)
        waiter.join()
        os.close(over)
