"""The Dramatiq side of the bell (SPEC §6): a broker whose consumer waits in a blocking pop.

A message is a hint that a workspace may have work. It is taken off the queue when it is read: losing it with a
worker costs a few seconds, until the scheduler rings again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import redis
import structlog
from django.db import transaction
from dramatiq import Message, get_broker
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks import bells

ACTOR: Final = "serve_workspace"
QUEUE: Final = "default"
MAX_AGE_MS: Final = 60_000
"""An older bell is dropped: the scheduler has rung again since."""
_SEND_TIMEOUT: Final = 0.3
_MOST_BELLS: Final = 100_000

log = structlog.get_logger(__name__)


class BlockingConsumer(Consumer):
    """Waits for the next message in BLPOP instead of polling: a bell is heard in about 2 ms and idling costs one
    command in `timeout` milliseconds. At most `prefetch` messages are in the process and not served yet.
    """

    def __init__(self, broker: DoorbellBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self._key = broker.key(queue_name)
        self._room = threading.Semaphore(prefetch)
        self._seconds = timeout / 1000
        self._client = broker.blocking_client(self._seconds)

    def __next__(self) -> MessageProxy | None:
        if not self._room.acquire(timeout=self._seconds):
            return None
        message = None
        try:
            popped: Any = self._client.blpop([self._key], timeout=self._seconds)
            if popped is not None:
                message = MessageProxy(Message.decode(popped[1]))
        except redis.RedisError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        finally:
            if message is None:
                self._room.release()
        return message

    def ack(self, message: MessageProxy) -> None:
        """The pop took it already; there is room for another."""
        self._room.release()

    def nack(self, message: MessageProxy) -> None:
        """As ack: the scheduler rings again if there was work."""
        self._room.release()

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Ring again, for another worker, for bells that were read and not served."""
        for message in messages:
            ring(*message.args)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class DoorbellBroker(RedisBroker):
    """Redis as Dramatiq uses it, save that a message is the list's element itself: pushed by one command and taken by
    one, with no scripts, heartbeats or acknowledgements, since a lost bell is rung again.
    """

    def __init__(self, *, url: str, middleware: list[Any] | None = None, **options: Any) -> None:
        self._url = url
        client = redis.Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=_SEND_TIMEOUT,
            socket_connect_timeout=_SEND_TIMEOUT,
        )
        super().__init__(client=client, middleware=middleware, **options)  # type: ignore[no-untyped-call]

    @property
    def consumer_class(self) -> type[Consumer]:
        """The broker's official hook."""
        return BlockingConsumer

    def key(self, queue_name: str) -> str:
        """The list that holds a queue."""
        return f"{self.namespace}:{queue_name}"

    def do_enqueue(self, queue_name: str, message_id: str, data: bytes) -> None:
        """Push, and keep the newest if nobody has listened for very long."""
        with self.client.pipeline(transaction=True) as pipe:
            pipe.rpush(self.key(queue_name), data)
            pipe.ltrim(self.key(queue_name), -_MOST_BELLS, -1)
            pipe.execute()

    def do_qsize(self, queue_name: str) -> int:
        """Bells that nobody has read yet."""
        return int(self.client.llen(self.key(queue_name)))

    def do_purge(self, queue_name: str) -> None:
        """Forget them."""
        self.client.delete(self.key(queue_name))

    def blocking_client(self, seconds: float) -> redis.Redis:
        """A client whose reads may take as long as a blocking pop."""
        return redis.Redis.from_url(
            self._url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=seconds + 2.0,
            socket_connect_timeout=_SEND_TIMEOUT,
        )


def ring(wsid: str) -> bool:
    """Ask some worker to look at the workspace. False, and a line in the log, if the broker cannot be reached."""
    message: Message[Any] = Message(queue_name=QUEUE, actor_name=ACTOR, args=(wsid,), kwargs={}, options={})
    try:
        get_broker().enqueue(message)
    except (redis.RedisError, ConnectionClosed) as error:
        log.warning("doorbell.unreachable", wsid=wsid, error=str(error))
        return False
    return True


def ring_on_commit(wsid: str) -> None:
    """Both bells: NOTIFY with the transaction, the Dramatiq message after it. A broker that is down harms nobody."""
    bells.announce_work(wsid)
    transaction.on_commit(partial(ring, wsid), robust=True)
