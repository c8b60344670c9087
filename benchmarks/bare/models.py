"""The one table."""

from __future__ import annotations

from django.db import models

from benchmarks.bare.schema import TABLE


class Item(models.Model):
    """A row."""

    name = models.TextField()
    status = models.TextField(default="PENDING")
    message = models.TextField(default="")
    params = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        managed = False
        db_table = TABLE

    def __str__(self) -> str:
        return self.name
