import django.db.models.deletion
from django.db import migrations, models

import wvs_project.db


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("workspaces", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Snapshot",
            fields=[
                ("snapshot_id", models.TextField(primary_key=True, serialize=False)),
                ("fs_path", models.TextField()),
                ("message", models.TextField(blank=True, default="")),
                ("entries", models.BigIntegerField()),
                ("bytes", models.BigIntegerField()),
                ("manifest_digest", models.TextField()),
                ("created_by", models.TextField(null=True)),
                ("created_at", models.DateTimeField(db_default=wvs_project.db.ClockTimestamp())),
                ("deleted_at", models.DateTimeField(null=True)),
                ("deleted_by", models.TextField(null=True)),
                ("orphaned_at", models.DateTimeField(null=True)),
                (
                    "is_live",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(models.Q(("deleted_at__isnull", True)), then=models.Value(True)),
                            default=models.Value(False),
                        ),
                        output_field=models.BooleanField(),
                    ),
                ),
                (
                    "workspace",
                    models.ForeignKey(
                        db_column="wsid",
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="snapshots",
                        to="workspaces.workspace",
                    ),
                ),
            ],
            options={
                "db_table": "snapshots",
                "indexes": [
                    models.Index(
                        condition=models.Q(("deleted_at__isnull", True)),
                        fields=["workspace", "-created_at", "-snapshot_id"],
                        name="snapshots_kept",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "snapshot_id__regex",
                                "^snap-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
                            )
                        ),
                        name="snapshots_id_pattern",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("bytes__gte", 0), ("entries__gte", 0)), name="snapshots_counts_sane"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("deleted_at__isnull", True), ("deleted_by__isnull", True)),
                            models.Q(("deleted_at__isnull", False), ("deleted_by__isnull", False)),
                            _connector="OR",
                        ),
                        name="snapshots_deleted_by_a_task",
                    ),
                    models.UniqueConstraint(fields=("workspace", "fs_path"), name="snapshots_path"),
                    models.UniqueConstraint(fields=("workspace", "snapshot_id", "is_live"), name="snapshots_live_key"),
                ],
            },
        ),
    ]
