# Sourced once, by PostgreSQL's image, when the data directory is new: the role and the database of WVS_ROLE. The
# processes of WVS are no superusers. No -u: what is sourced must not change its caller.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv role WVS_ROLE
\set password `cat "$WVS_ROLE_PASSWORD_FILE"`
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
SQL
