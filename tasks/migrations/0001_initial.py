import django.db.models.deletion
import django.db.models.fields.json
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

import wvs_project.db


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("workspaces", "0001_initial"),
        ("snapshots", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(
            "CREATE SEQUENCE task_seq; CREATE SEQUENCE task_fence",
            "DROP SEQUENCE task_seq; DROP SEQUENCE task_fence",
        ),
        migrations.CreateModel(
            name="Task",
            fields=[
                ("task_id", models.TextField(primary_key=True, serialize=False)),
                (
                    "seq",
                    models.BigIntegerField(db_default=wvs_project.db.Nextval("task_seq"), editable=False, unique=True),
                ),
                (
                    "op",
                    models.TextField(
                        choices=[
                            ("init_workspace", "Init Workspace"),
                            ("snapshot_create", "Snapshot Create"),
                            ("snapshot_drop", "Snapshot Drop"),
                            ("set_current", "Set Current"),
                        ]
                    ),
                ),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("PENDING", "Pending"),
                            ("RUNNING", "Running"),
                            ("SUCCEEDED", "Succeeded"),
                            ("FAILED", "Failed"),
                            ("CANCELED", "Canceled"),
                            ("DEAD", "Dead"),
                        ],
                        default="PENDING",
                    ),
                ),
                ("idempotency_key", models.TextField()),
                ("request_hash", models.TextField()),
                ("request_id", models.TextField()),
                ("traceparent", models.TextField(blank=True, default="")),
                ("actor", models.JSONField()),
                ("created_at", models.DateTimeField(db_default=wvs_project.db.ClockTimestamp())),
                ("started_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("attempt", models.IntegerField(default=0)),
                ("max_attempts", models.IntegerField(default=5)),
                ("fence", models.BigIntegerField(null=True)),
                ("outcome_unknown", models.BooleanField(default=False)),
                ("next_run_at", models.DateTimeField(db_default=wvs_project.db.ClockTimestamp())),
                ("timeout_seconds", models.IntegerField(default=300)),
                ("cancel_requested", models.BooleanField(default=False)),
                ("progress", models.JSONField(null=True)),
                ("params", models.JSONField(default=dict)),
                ("result", models.JSONField(null=True)),
                ("error", models.JSONField(null=True)),
                (
                    "snapshot_id",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.db.models.fields.json.KeyTextTransform("snapshot_id", "params"),
                        output_field=models.TextField(null=True),
                    ),
                ),
                (
                    "is_live",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(
                                models.Q(("status__in", ["PENDING", "RUNNING", "FAILED"])), then=models.Value(True)
                            )
                        ),
                        output_field=models.BooleanField(null=True),
                    ),
                ),
                (
                    "ref_snapshot_id",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(
                                models.Q(
                                    models.Q(("op", "set_current"), ("status__in", ["PENDING", "RUNNING", "FAILED"])),
                                    models.Q(("op", "snapshot_drop"), ("status", "PENDING")),
                                    _connector="OR",
                                ),
                                then=django.db.models.fields.json.KeyTextTransform("snapshot_id", "params"),
                            )
                        ),
                        output_field=models.TextField(null=True),
                    ),
                ),
                (
                    "ref_is_live",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(
                                models.Q(
                                    models.Q(("op", "set_current"), ("status__in", ["PENDING", "RUNNING", "FAILED"])),
                                    models.Q(("op", "snapshot_drop"), ("status", "PENDING")),
                                    _connector="OR",
                                ),
                                then=models.Value(True),
                            )
                        ),
                        output_field=models.BooleanField(null=True),
                    ),
                ),
            ],
            options={
                "db_table": "tasks",
            },
        ),
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("event_id", models.BigAutoField(primary_key=True, serialize=False)),
                ("ts", models.DateTimeField(db_default=wvs_project.db.ClockTimestamp())),
                ("wsid", models.TextField()),
                ("actor", models.JSONField()),
                ("action", models.TextField()),
                ("request_id", models.TextField(blank=True, default="")),
                ("task_id", models.TextField(null=True)),
                ("payload", models.JSONField(default=dict)),
            ],
            options={
                "db_table": "audit",
                "indexes": [
                    models.Index(fields=["wsid", "-ts", "-event_id"], name="audit_by_workspace"),
                    models.Index(fields=["task_id"], name="audit_by_task"),
                    models.Index(fields=["action", "-ts", "-event_id"], name="audit_by_action"),
                    models.Index(fields=["-ts", "-event_id"], name="audit_by_ts"),
                ],
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="auditevent",
            trigger=pgtrigger.compiler.Trigger(
                name="audit_append_only",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;",
                    hash="b55d575194a10471fc2e65a66c65da166449c789",
                    operation="UPDATE OR DELETE",
                    pgid="pgtrigger_audit_append_only_f1b25",
                    table="audit",
                    when="BEFORE",
                ),
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="workspace",
            field=models.ForeignKey(
                db_column="wsid",
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="tasks",
                to="workspaces.workspace",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("status__in", ["PENDING", "RUNNING", "FAILED"])),
                fields=["workspace", "seq"],
                name="tasks_live_by_seq",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("status__in", ["PENDING", "RUNNING", "FAILED"])),
                fields=["snapshot_id"],
                name="tasks_live_by_snapshot",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("ref_snapshot_id__isnull", False)),
                fields=["ref_snapshot_id"],
                name="tasks_ref_snapshot",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(condition=models.Q(("status", "RUNNING")), fields=["started_at"], name="tasks_running"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["workspace", "-created_at", "-task_id"], name="tasks_by_workspace"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["-created_at", "-task_id"], name="tasks_by_created"),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("task_id__regex", "^task-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
                ),
                name="tasks_id_pattern",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(("op__in", ["init_workspace", "snapshot_create", "snapshot_drop", "set_current"])),
                name="tasks_op_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "DEAD"])),
                name="tasks_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(("attempt__gte", 0), ("attempt__lte", models.F("max_attempts"))),
                name="tasks_attempt_within_max",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(("timeout_seconds__gt", 0)), name="tasks_timeout_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status__in", ["SUCCEEDED", "CANCELED", "DEAD"]), ("ended_at__isnull", False)),
                    models.Q(("status__in", ["PENDING", "RUNNING", "FAILED"]), ("ended_at__isnull", True)),
                    _connector="OR",
                ),
                name="tasks_ended_iff_finished",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "RUNNING"), _negated=True),
                    models.Q(("fence__isnull", False), ("started_at__isnull", False)),
                    _connector="OR",
                ),
                name="tasks_running_has_fence",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("outcome_unknown", False), ("status__in", ["PENDING", "RUNNING", "FAILED"]), _connector="OR"
                ),
                name="tasks_unknown_only_while_live",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("op", "init_workspace"),
                    models.Q(
                        ("snapshot_id__isnull", False),
                        (
                            "snapshot_id__regex",
                            "^snap-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
                        ),
                    ),
                    _connector="OR",
                ),
                name="tasks_snapshot_op_names_one",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(fields=("workspace", "op", "idempotency_key"), name="tasks_idempotency"),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "RUNNING")), fields=("workspace",), name="tasks_one_running_per_workspace"
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(("op", "snapshot_drop"), ("status__in", ["PENDING", "RUNNING", "FAILED"])),
                fields=("snapshot_id",),
                name="tasks_one_live_drop_per_snapshot",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=wvs_project.db.CompositeForeignKey(
                columns=("wsid", "ref_snapshot_id", "ref_is_live"),
                name="tasks_ref_snapshot_is_live",
                to_columns=("wsid", "snapshot_id", "is_live"),
                to_table="snapshots",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=wvs_project.db.CompositeForeignKey(
                columns=("wsid", "is_live"),
                name="tasks_live_in_enabled_workspace",
                to_columns=("wsid", "is_enabled"),
                to_table="workspaces",
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="task",
            trigger=pgtrigger.compiler.Trigger(
                name="tasks_transitions",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    declare="DECLARE _is_valid_transition BOOLEAN;",
                    func='SELECT CONCAT(OLD."status", \':\', NEW."status") = ANY(\'{PENDING:RUNNING,PENDING:CANCELED,RUNNING:SUCCEEDED,RUNNING:FAILED,RUNNING:CANCELED,RUNNING:DEAD,FAILED:RUNNING,FAILED:CANCELED}\'::text[]) INTO _is_valid_transition; IF (_is_valid_transition IS FALSE AND OLD."status" IS DISTINCT FROM NEW."status") THEN RAISE EXCEPTION \'pgtrigger: Invalid transition of field "status" from "%" to "%" on table %\', OLD."status", NEW."status", TG_TABLE_NAME; ELSE RETURN NEW; END IF;',
                    hash="d6a0688b39546cd518ea6504c70e114e6eff7af2",
                    operation="UPDATE",
                    pgid="pgtrigger_tasks_transitions_50629",
                    table="tasks",
                    when="BEFORE",
                ),
            ),
        ),
    ]
