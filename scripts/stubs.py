"""`python -m scripts.stubs [DIR]`: write executor/wire/ from proto/, or the same into another directory.

The generated modules import each other as if `wvs` were a package; here they lie in `executor.wire`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from google.protobuf import __file__ as _protobuf

ROOT: Final = Path(__file__).resolve().parent.parent
WIRE: Final = ROOT / "executor" / "wire"
_PROTO: Final = "wvs/executor/v1/executor.proto"
_SUFFIXES: Final = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
_PACKAGE: Final = "wvs.executor.v1"


def generate(directory: Path) -> None:
    """Write the stubs there. Raises RuntimeError when protoc refuses the file."""
    with tempfile.TemporaryDirectory() as made:
        includes = [f"-I{ROOT / 'proto'}", f"-I{Path(_protobuf).parents[2] / 'grpc_tools' / '_proto'}"]
        outputs = [f"--{kind}_out={made}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
        # In a process of its own: it starts its plugins by forking, which a process that uses gRPC may not survive.
        protoc = [sys.executable, "-m", "grpc_tools.protoc", *includes, *_plugins(), *outputs, _PROTO]
        if subprocess.run(protoc, check=False).returncode != 0:
            raise RuntimeError(f"protoc refuses {_PROTO}")
        for suffix in _SUFFIXES:
            name = f"executor{suffix}"
            text = (Path(made) / Path(_PROTO).parent / name).read_text()
            (directory / name).write_text(_in_place(text))


def _plugins() -> list[str]:
    """Beside this interpreter, whatever PATH says."""
    names = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    return [f"--plugin={name}={Path(sys.executable).parent / name}" for name in names]


def _in_place(text: str) -> str:
    return text.replace(f"from {_PACKAGE} import executor_pb2", "from executor.wire import executor_pb2")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else WIRE)
