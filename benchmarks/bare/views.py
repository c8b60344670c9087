"""One insert, one select, one page."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks.bare.models import Item

PAGE = 20


class ItemSerializer(serializers.ModelSerializer[Item]):
    """All columns."""

    class Meta:
        model = Item
        fields: ClassVar[Any] = ["id", "name", "status", "message", "params", "created_at"]
        read_only_fields: ClassVar[Any] = ["id", "status", "created_at"]


class Items(APIView):
    """The collection."""

    def post(self, request: Request) -> Response:
        """Insert a row."""
        given = ItemSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        given.save()
        return Response(given.data, status=202)

    def get(self, request: Request) -> Response:
        """The newest rows."""
        return Response({"items": ItemSerializer(Item._default_manager.order_by("-id")[:PAGE], many=True).data})


class OneItem(APIView):
    """One of them."""

    def get(self, request: Request, pk: int) -> Response:
        """Select a row."""
        return Response(ItemSerializer(Item._default_manager.get(pk=pk)).data)
