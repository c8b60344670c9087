"""Mutual TLS by three settings (SPEC §7, §10): who has no right certificate is served nothing, and serves nobody."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from executor.client import RemoteExecutor, open_remote_executor
from executor.config import ExecutorConfigError
from executor.contract import ExecutorFault, FaultReason
from executor.tls import Tls
from tests.executor_grpc.conftest import delete
from tests.executor_grpc.served import RemoteSite, Served, served

pytestmark = pytest.mark.rule("SPEC-10-mtls")
NAMES = ("EXECUTOR_TLS_CA", "EXECUTOR_TLS_CERT", "EXECUTOR_TLS_KEY")


@dataclass(frozen=True)
class Authority:
    """Signs certificates."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
        built = _builder(name, name, key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
        return cls(key, built.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def signed(self, *hosts: str) -> Tls:
        """A pair for a side that believes this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
        built = _builder(name, self.certificate.subject, key.public_key())
        built = built.add_extension(x509.SubjectAlternativeName([_san(host) for host in hosts]), critical=False)
        plain = serialization.NoEncryption()
        pkcs8 = serialization.PrivateFormat.PKCS8
        return Tls(
            ca=self.pem,
            certificate=built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            key=key.private_bytes(serialization.Encoding.PEM, pkcs8, plain),
        )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))


def _san(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def settings_of(tls: Tls, directory: Path) -> dict[str, str]:
    """The three settings, and the files that they name."""
    directory.mkdir()
    given = {}
    for name, content in zip(NAMES, (tls.ca, tls.certificate, tls.key), strict=True):
        file = directory / name
        file.write_bytes(content)
        given[name] = str(file)
    return given


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new()


@pytest.fixture(scope="module")
def service(authority: Authority, plain_volume: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    base = tmp_path_factory.mktemp("tls")
    settings = settings_of(authority.signed("127.0.0.1"), base / "executor")
    with served(plain_volume, base / "log", EXECUTOR_CLONE_DRIVER="copy", **settings) as made:
        yield made


def asked(addr: str, tls: Tls | None) -> FaultReason | None:
    """How the executor's answer to a caller with these certificates fails; None: it answers."""
    executor = RemoteExecutor([addr], tls)
    try:
        executor.workspaces()
    except ExecutorFault as fault:
        return fault.reason
    finally:
        executor.close()
    return None


def test_both_sides_with_certificates_of_one_authority_work_together(
    service: Served, authority: Authority, plain_volume: Path
) -> None:
    site = RemoteSite(plain_volume, "copy", service.addr, tls=authority.signed("a worker"))

    site.init()
    assert site.snapshot() in site.snapshots

    site.close()
    delete(site)


def test_a_caller_without_tls_is_served_nothing(service: Served) -> None:
    assert asked(service.addr, None) is FaultReason.UNAVAILABLE


def test_a_caller_without_a_certificate_is_served_nothing(service: Served, authority: Authority) -> None:
    class Nameless(Tls):
        """It believes the authority and shows nothing."""

        def for_channel(self) -> grpc.ChannelCredentials:
            return grpc.ssl_channel_credentials(self.ca)

    pair = authority.signed("a worker")
    assert asked(service.addr, Nameless(pair.ca, pair.certificate, pair.key)) is FaultReason.UNAVAILABLE


def test_a_caller_of_another_authority_is_served_nothing(service: Served, authority: Authority) -> None:
    stranger = Authority.new().signed("a worker")
    believing = Tls(authority.pem, stranger.certificate, stranger.key)

    assert asked(service.addr, believing) is FaultReason.UNAVAILABLE


def test_an_executor_of_another_authority_is_not_believed(service: Served, authority: Authority) -> None:
    pair = authority.signed("a worker")
    doubting = Tls(Authority.new().pem, pair.certificate, pair.key)

    assert asked(service.addr, doubting) is FaultReason.UNAVAILABLE


def test_an_executor_of_another_name_is_not_believed(service: Served, authority: Authority) -> None:
    by_name = f"localhost:{service.port}"  # its certificate names 127.0.0.1

    assert asked(by_name, authority.signed("a worker")) is FaultReason.UNAVAILABLE
    assert asked(service.addr, authority.signed("a worker")) is None


def test_the_worker_reads_the_same_three_settings(
    service: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings_of(authority.signed("a worker"), tmp_path / "worker").items():
        monkeypatch.setenv(name, value)

    executor = open_remote_executor([service.addr])

    assert isinstance(executor.workspaces(), list)
    executor.close()


def test_a_worker_speaks_plaintext_to_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    open_remote_executor(["127.0.0.1:7070", "[::1]:7070", "localhost:7071"]).close()
    with pytest.raises(ExecutorConfigError, match="EXECUTOR_ADDRS=executor-2:7070: plaintext is for loopback only"):
        open_remote_executor(["127.0.0.1:7070", "executor-2:7070"])
    monkeypatch.setenv("EXECUTOR_INSECURE_ALLOW_REMOTE", "1")
    open_remote_executor(["executor-2:7070"]).close()


@pytest.mark.parametrize("missing", NAMES)
def test_two_of_three_settings_are_none(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name, value in settings_of(authority.signed("x"), tmp_path / "given").items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)

    with pytest.raises(ExecutorConfigError, match=f"{missing} missing"):
        open_remote_executor(["127.0.0.1:7070"])


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b"no certificate", "holds no PEM")])
def test_a_file_that_is_no_certificate_is_named(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, said: str
) -> None:
    given = settings_of(authority.signed("x"), tmp_path / "given")
    broken = Path(given["EXECUTOR_TLS_CERT"])
    broken.unlink()
    if content is not None:
        broken.write_bytes(content)
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ExecutorConfigError, match=f"EXECUTOR_TLS_CERT=.*{said}"):
        open_remote_executor(["127.0.0.1:7070"])
