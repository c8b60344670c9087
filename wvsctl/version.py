"""Which wvsctl this is: the same as in pyproject.toml, also where it runs from the sources."""

from typing import Final

VERSION: Final = "0.1.0"
