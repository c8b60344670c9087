#!/bin/sh
# What compose.yml needs before it is started the first time: secrets and directories. Run it from the directory of
# compose.yml; again at any time: what is there stays. Secrets are random, and nothing else has them.
#
# Containers run under accounts of their own, and compose binds a secret's file with the owner and mode it has: so the
# files may be read by all, and the directory around them may be entered by its owner alone. The data's directories
# are kept in the same way.
set -eu
umask 077

if [ -f .env ]; then
  set -a
  . ./.env
  set +a
fi
secrets="${WVS_SECRETS_DIR:-./secrets}"
data="${WVS_DATA_DIR:-./data}"
archive="${WVS_ARCHIVE_DIR:-./archive}"

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# keep NAME VALUE: the secret NAME, unless it is there.
keep() {
  [ -s "$secrets/$1" ] && return 0
  printf '%s' "$2" >"$secrets/$1.new"
  chmod 0444 "$secrets/$1.new"
  mv "$secrets/$1.new" "$secrets/$1"
  echo "made $secrets/$1"
}

value() {
  cat "$secrets/$1"
}

# Agents go through `data` and `volume` to their workspaces; nobody of the host goes into the others.
mkdir -p "$data/stores" "$data/volume" "$secrets" "$archive"
chmod 0711 "$data"
chmod 0755 "$data/volume"
chmod 0700 "$data/stores" "$secrets" "$archive"
for directory in "$data/stores/minio" "$data/stores/vmsingle" "$data/stores/vmagent" \
  "$archive/wal-wvs" "$archive/wal-juicefs"; do
  mkdir -p "$directory"
  chmod 0777 "$directory"
done

for name in wvs_secret_key wvs_db_password pg_wvs_superuser_password pg_juicefs_superuser_password \
  juicefs_meta_password redis_password minio_root_password vmauth_grafana_password grafana_admin_password; do
  keep "$name" "$(random)"
done
keep minio_root_user "wvs-$(random | cut -c 1-12)"
keep wvs_db_dsn "postgresql://wvs:$(value wvs_db_password)@pg-wvs:5432/wvs"
keep redis_url "redis://:$(value redis_password)@redis:6379/0"
keep redis_conf "requirepass $(value redis_password)"
keep vmauth_config "$(sed "s/%{VMAUTH_GRAFANA_PASSWORD}/$(value vmauth_grafana_password)/" deploy/vmauth/auth.yml)"
