"""The volume that an executor mounts by itself, and mounts again when the mount has died (SPEC §7)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from executor import orphans
from executor.config import ExecutorConfigError
from executor.service_config import OwnVolume
from executor.watch import look_once

MOUNT_SECONDS: Final = 60.0
UNMOUNT_SECONDS: Final = 20.0
_PULSE: Final = 0.05
_NAME: Final = "wvs"
# As fast as the defaults, stale for 0.1 s at most. Never 0: sixty times slower. Never --writeback.
_OPTIONS: Final = (
    "--attr-cache=0.1",
    "--entry-cache=0.1",
    "--dir-entry-cache=0.1",
    "--enable-xattr",
    "--backup-meta=0",
    "--no-usage-report",
    "--no-syslog",
    "--no-color",
)
# What an operator deletes by mistake, and what a database restored to an earlier point still names, is there for so
# long: at least the window of that restore (SPEC §2, §11).
_TRASH_DAYS: Final = 14
_PR_SET_PDEATHSIG: Final = 1
_PRCTL: Final = ctypes.CDLL(None, use_errno=True).prctl


class OwnMount:
    """One mount. Its two processes end when the thread ends that called `mount` last, or `unmount`."""

    def __init__(self, volume: OwnVolume, path: Path, program: Path | None) -> None:
        """Raises ExecutorConfigError where there is no juicefs program."""
        if program is None:
            raise ExecutorConfigError(
                "JFS_META_URL is given, and the juicefs program is not found: put it on PATH or set EXECUTOR_JUICEFS"
            )
        self._volume = volume
        self._path = path
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def format(self) -> None:
        """Make the volume in its object store, if one is given; what is there stays. Raises OSError."""
        store = self._volume.store
        if store is None:
            return
        bucket = f"{store.endpoint.rstrip('/')}/{store.bucket}"
        options = ["--storage", "minio", "--bucket", bucket, f"--trash-days={_TRASH_DAYS}", "--no-update", "--no-color"]
        keys = {"ACCESS_KEY": store.access_key, "SECRET_KEY": store.secret_key}
        done = subprocess.run(
            [str(self._program), "format", *options, self._volume.meta_url, _NAME],
            env={**self._environment(), **keys},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise OSError(f"juicefs format failed: {_end_of(done.stderr)}")

    def mount(self) -> None:
        """Mount, a dead mount in its place detached first, and wait until it answers. Raises OSError.

        From a thread that lives as long as the mount is needed.
        """
        if self._process is None:
            orphans.end(self._path)
        self._kill()
        if _is_mounted(self._path):
            if self._process is None and look_once(self._path) is None:
                raise OSError(f"{self._path} is mounted already, and alive: JFS_META_URL must not be given then")
            _detach(self._path)
        self._path.mkdir(parents=True, exist_ok=True)
        shown_at = self._volume.metrics_addr
        metrics = [f"--metrics={shown_at}"] if shown_at else []
        argv = [str(self._program), "mount", *_OPTIONS, *metrics, self._volume.meta_url, str(self._path)]
        # Its log goes where ours goes.
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, env=self._environment(), process_group=0, preexec_fn=_in_child(os.getpid())
        )
        _until(self._answers, MOUNT_SECONDS, f"{self._path} was not mounted")

    def unmount(self) -> None:
        """Flush, unmount and end; a busy mount is detached. Raises OSError if it stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(UNMOUNT_SECONDS)
        if _is_mounted(self._path):
            _detach(self._path)
        _kill(process)

    def _answers(self) -> bool:
        process = self._process
        if process is not None and process.poll() is not None:
            raise OSError(f"juicefs mount ended with {process.returncode}: see its lines above")
        return _is_mounted(self._path) and look_once(self._path) is None

    def _kill(self) -> None:
        if self._process is not None:
            _kill(self._process)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{os.defpath}:/usr/sbin:/sbin",
            "HOME": str(Path.home()),
            "META_PASSWORD": self._volume.meta_password,
            **orphans.mark(self._path),
        }


def _in_child(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        # It flushes and unmounts when its executor is killed.
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    return prepare


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Both processes of a mount: they are of one group. Harmless when they are over."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _is_mounted(path: Path) -> bool:
    """Whether the kernel lists a mount there, alive or dead; os.path.ismount says False of a dead one."""
    octal = str(path).replace("\\", r"\134").replace(" ", r"\040").replace("\t", r"\011").replace("\n", r"\012")
    return any(line.split(" ")[4] == octal for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _detach(path: Path) -> None:
    command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    answer = subprocess.run([*command, str(path)], check=False, capture_output=True, text=True)
    if _is_mounted(path):
        raise OSError(f"{path} does not unmount: {answer.stderr.strip()}")


def _until(condition: Callable[[], bool], limit: float, what: str) -> None:
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} within {limit:g} s")
        time.sleep(_PULSE)


def _end_of(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-5:])
