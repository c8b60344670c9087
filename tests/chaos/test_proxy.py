"""The proxy behaves as the network it stands for: what is cut is reset, what is stalled waits, what heals goes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import TcpProxy
from wvs_project.stack.waiting import LOOPBACK

LIMIT = 10.0
A_MOMENT = 0.2


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says back what it hears: its port."""

    def serve(connection: socket.socket) -> None:
        try:
            while said := connection.recv(1024):
                connection.sendall(said)
        except OSError:
            pass
        connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def proxy(echo: int) -> Iterator[TcpProxy]:
    proxy = TcpProxy(echo)
    proxy.start()
    yield proxy
    proxy.stop()


def _connected(proxy: TcpProxy) -> socket.socket:
    """A connection over which something was said already."""
    connection = socket.create_connection((LOOPBACK, proxy.port), LIMIT)
    assert _echo(connection, b"first") == b"first"
    return connection


def _echo(connection: socket.socket, said: bytes) -> bytes:
    connection.sendall(said)
    return connection.recv(1024)


def test_what_is_said_passes_both_ways(proxy: TcpProxy) -> None:
    with _connected(proxy) as connection:
        assert _echo(connection, b"second") == b"second"
        assert proxy.connections == 1


def test_a_cut_resets_what_is_connected_and_lets_others_in(proxy: TcpProxy) -> None:
    with _connected(proxy) as connection:
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1024)
    with _connected(proxy):
        pass


def test_what_is_refused_gets_in_when_it_heals(proxy: TcpProxy) -> None:
    with _connected(proxy) as connection:
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            connection.recv(1024)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, proxy.port), LIMIT)
    proxy.heal()
    with _connected(proxy):
        pass


def test_what_is_stalled_is_neither_answered_nor_closed_and_comes_when_it_heals(proxy: TcpProxy) -> None:
    with _connected(proxy) as old:
        proxy.stall()
        old.sendall(b"late")
        with socket.create_connection((LOOPBACK, proxy.port), LIMIT) as new:
            new.sendall(b"later")
            for connection in (old, new):
                connection.settimeout(A_MOMENT)
                with pytest.raises(TimeoutError):
                    connection.recv(1024)
                connection.settimeout(LIMIT)
            proxy.heal()
            assert old.recv(1024) == b"late"
            assert new.recv(1024) == b"later"


def test_who_asks_while_the_server_is_away_is_reset(proxy: TcpProxy) -> None:
    with socket.create_server((LOOPBACK, 0)) as gone:
        lonely = TcpProxy(gone.getsockname()[1])
    lonely.start()
    try:
        assert _is_reset(lonely.port)
    finally:
        lonely.stop()


def _is_reset(port: int) -> bool:
    """The reset may come while we still connect."""
    try:
        with socket.create_connection((LOOPBACK, port), LIMIT) as connection:
            return _ends(connection)
    except ConnectionResetError:
        return True


def _ends(connection: socket.socket) -> bool:
    try:
        return connection.recv(1024) == b""
    except ConnectionResetError:
        return True
