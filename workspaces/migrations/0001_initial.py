import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

import wvs_project.db


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Workspace",
            fields=[
                ("wsid", models.TextField(primary_key=True, serialize=False)),
                ("root_path", models.TextField(unique=True)),
                ("owner", models.TextField()),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("PROVISIONING", "Provisioning"),
                            ("ACTIVE", "Active"),
                            ("INIT_FAILED", "Init Failed"),
                            ("DISABLED", "Disabled"),
                        ],
                        default="PROVISIONING",
                    ),
                ),
                (
                    "state_before_disable",
                    models.TextField(
                        choices=[
                            ("PROVISIONING", "Provisioning"),
                            ("ACTIVE", "Active"),
                            ("INIT_FAILED", "Init Failed"),
                            ("DISABLED", "Disabled"),
                        ],
                        null=True,
                    ),
                ),
                ("current_snapshot_id", models.TextField(null=True)),
                ("current_path", models.TextField(null=True)),
                ("created_at", models.DateTimeField(db_default=wvs_project.db.ClockTimestamp())),
                ("updated_at", models.DateTimeField(db_default=wvs_project.db.ClockTimestamp())),
                (
                    "current_is_live",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(models.When(current_snapshot_id__isnull=False, then=models.Value(True))),
                        output_field=models.BooleanField(null=True),
                    ),
                ),
                (
                    "is_enabled",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(models.Q(("state", "DISABLED")), then=models.Value(False)),
                            default=models.Value(True),
                        ),
                        output_field=models.BooleanField(),
                    ),
                ),
            ],
            options={
                "db_table": "workspaces",
                "indexes": [
                    models.Index(fields=["-created_at", "-wsid"], name="workspaces_by_created"),
                    models.Index(fields=["state", "-created_at", "-wsid"], name="workspaces_by_state"),
                    models.Index(fields=["owner", "-created_at", "-wsid"], name="workspaces_by_owner"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("wsid__regex", "^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")),
                        name="workspaces_id_pattern",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["PROVISIONING", "ACTIVE", "INIT_FAILED", "DISABLED"])),
                        name="workspaces_state_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "DISABLED"), ("state_before_disable__isnull", False)),
                            models.Q(
                                models.Q(("state", "DISABLED"), _negated=True), ("state_before_disable__isnull", True)
                            ),
                            _connector="OR",
                        ),
                        name="workspaces_before_disable_iff_disabled",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state_before_disable__isnull", True),
                            ("state_before_disable__in", ["PROVISIONING", "ACTIVE", "INIT_FAILED"]),
                            _connector="OR",
                        ),
                        name="workspaces_before_disable_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "ACTIVE"), _negated=True),
                            ("current_path__isnull", False),
                            _connector="OR",
                        ),
                        name="workspaces_active_has_path",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("current_snapshot_id__isnull", True), ("current_path__isnull", False), _connector="OR"
                        ),
                        name="workspaces_pointer_has_path",
                    ),
                    models.UniqueConstraint(fields=("wsid", "is_enabled"), name="workspaces_enabled_key"),
                ],
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="workspace",
            trigger=pgtrigger.compiler.Trigger(
                name="workspaces_transitions",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    declare="DECLARE _is_valid_transition BOOLEAN;",
                    func='SELECT CONCAT(OLD."state", \':\', NEW."state") = ANY(\'{PROVISIONING:ACTIVE,PROVISIONING:INIT_FAILED,INIT_FAILED:PROVISIONING,PROVISIONING:DISABLED,ACTIVE:DISABLED,INIT_FAILED:DISABLED,DISABLED:PROVISIONING,DISABLED:ACTIVE,DISABLED:INIT_FAILED}\'::text[]) INTO _is_valid_transition; IF (_is_valid_transition IS FALSE AND OLD."state" IS DISTINCT FROM NEW."state") THEN RAISE EXCEPTION \'pgtrigger: Invalid transition of field "state" from "%" to "%" on table %\', OLD."state", NEW."state", TG_TABLE_NAME; ELSE RETURN NEW; END IF;',
                    hash="1fea54649a784d47f46c627984dace04962d0ca9",
                    operation="UPDATE",
                    pgid="pgtrigger_workspaces_transitions_2b59e",
                    table="workspaces",
                    when="BEFORE",
                ),
            ),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name="workspace",
            trigger=pgtrigger.compiler.Trigger(
                name="workspaces_enable_to_before",
                sql=pgtrigger.compiler.UpsertTriggerSql(
                    condition="WHEN (OLD.\"state\" = 'DISABLED' AND NOT (NEW.\"state\" = 'DISABLED'))",
                    func="\n                    IF NEW.state IS DISTINCT FROM OLD.state_before_disable THEN\n                        RAISE EXCEPTION 'a disabled workspace goes back to %, not to %',\n                            OLD.state_before_disable, NEW.state USING ERRCODE = 'check_violation';\n                    END IF;\n                    RETURN NEW;\n                ",
                    hash="1e28cc1af10e6de862b701c049456ab91cf63dfb",
                    operation="UPDATE",
                    pgid="pgtrigger_workspaces_enable_to_before_38134",
                    table="workspaces",
                    when="BEFORE",
                ),
            ),
        ),
    ]
