"""The agent's side of the WVS quiesce protocol (SPEC §8): standard library only, installable alone."""
