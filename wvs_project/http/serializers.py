"""What `…In` and `…Out` serializers are made of: nothing is coerced, nothing unknown is ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
TIME_PATTERN: Final = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$"


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know."""

    def to_internal_value(self, data: Any) -> Any:
        """As DRF, after a look for strangers. Raises ValidationError naming each."""
        if isinstance(data, Mapping) and (unknown := sorted(set(data) - set(self.fields))):
            known = ", ".join(self.fields) or "none"
            raise ValidationError({name: [f"unknown field; known: {known}"] for name in unknown})
        return super().to_internal_value(data)


class NoFields(StrictSerializer):
    """Of what takes no fields: an empty body, an empty query."""


class Text(serializers.CharField):
    """A JSON string as it is: no number becomes one, and nothing is trimmed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Raises ValidationError for what is not a string."""
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class PatternText(Text):
    """A string that matches a pattern as a whole."""

    def __init__(self, pattern: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pattern = pattern
        self._spectacular_annotation = {"field": {"type": "string", "pattern": pattern}}

    def to_internal_value(self, data: Any) -> str:
        """Raises ValidationError for what does not match."""
        text = super().to_internal_value(data)
        if not re.fullmatch(self._pattern, text):
            raise ValidationError(f"must match {self._pattern}")
        return text


class Flag(serializers.BooleanField):
    """JSON's true and false, and nothing that resembles them."""

    def to_internal_value(self, data: Any) -> bool:
        """Raises ValidationError for what is not a boolean."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


@extend_schema_field({"type": "string", "format": "date-time", "pattern": TIME_PATTERN})
class Time(serializers.DateTimeField):
    """RFC 3339 in UTC with microseconds and Z (SPEC §3)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format=TIME_FORMAT, **kwargs)


class QueryInteger(Text):
    """A whole number in a query, in plain decimal digits, between two bounds."""

    def __init__(self, *, least: int, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.least, self.most = least, most
        field = {"type": "integer", "minimum": least, "maximum": most}
        self._spectacular_annotation = {
            "field": field | ({"default": kwargs["default"]} if "default" in kwargs else {})
        }

    def to_internal_value(self, data: Any) -> Any:
        """Raises ValidationError for what is not a number between the bounds."""
        text = super().to_internal_value(data)
        if not re.fullmatch(r"[0-9]{1,9}", text) or not self.least <= int(text) <= self.most:
            raise ValidationError(f"must be a whole number from {self.least} to {self.most}")
        return int(text)

    def to_representation(self, value: Any) -> Any:
        """Of the default, for OpenAPI."""
        return value


def query_values(query: QueryDict) -> dict[str, str]:
    """Each parameter once. Raises ValidationError for one that comes twice."""
    repeated = sorted(name for name, values in query.lists() if len(values) > 1)
    if repeated:
        raise ValidationError({name: ["given more than once"] for name in repeated})
    return {name: str(value) for name, value in query.items()}
