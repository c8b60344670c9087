"""Clone drivers behind one interface (SPEC §2)."""
