"""The agent's side of the WVS quiesce protocol (SPEC §8): standard library only, installable alone."""

from wvs_agent.handles import fsync_open_files
from wvs_agent.refusal import FreezeRefusedError
from wvs_agent.watcher import AttachTimeoutError, QuiesceWatcher

__all__ = ["AttachTimeoutError", "FreezeRefusedError", "QuiesceWatcher", "fsync_open_files"]
