"""The execution plane: everything that touches the volume (SPEC §1, §7)."""

from executor.config import forbid_fork_handlers

# Before any module of ours imports gRPC, which reads it when it is imported.
forbid_fork_handlers()
