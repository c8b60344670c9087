"""Apart from 0001, since the snapshots that it points at refer to workspaces."""

from django.db import migrations

import wvs_project.db


class Migration(migrations.Migration):
    dependencies = [
        ("workspaces", "0001_initial"),
        ("snapshots", "0001_initial"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="workspace",
            constraint=wvs_project.db.CompositeForeignKey(
                columns=("wsid", "current_snapshot_id", "current_is_live"),
                name="workspaces_current_snapshot_is_live",
                to_columns=("wsid", "snapshot_id", "is_live"),
                to_table="snapshots",
            ),
        ),
    ]
