#!/bin/sh
# As the entry point of the official image: makes the cluster on the first start, runs the SQL files, then serves.
set -eu
PGDATA="${PGDATA:-/var/lib/postgresql/data}"
user="${POSTGRES_USER:-postgres}"
database="${POSTGRES_DB:-$user}"
as_postgres="setpriv --reuid=999 --regid=999 --clear-groups"
mkdir -p "$PGDATA" /var/run/postgresql
chown 999:999 "$PGDATA" /var/run/postgresql
chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  $as_postgres initdb --username="$user" --encoding=UTF8 --locale=C --no-sync "$PGDATA" >/dev/null 2>&1
  method=scram-sha-256
  [ -n "${POSTGRES_PASSWORD:-}" ] || [ -n "${DB_PASSWORD:-}" ] || method=trust
  echo "host all all all $method" >>"$PGDATA/pg_hba.conf"
  $as_postgres postgres -D "$PGDATA" -c listen_addresses= &
  server=$!
  sql() { $as_postgres psql -q -v ON_ERROR_STOP=1 --username="$user" --dbname="${SQL_DATABASE:-$database}" "$@" >/dev/null; }
  until SQL_DATABASE=postgres sql -c 'select 1' 2>/dev/null; do sleep 0.1; done
  [ "$database" = postgres ] || SQL_DATABASE=postgres sql -c "create database \"$database\""
  [ -z "${POSTGRES_PASSWORD:-}" ] || sql -c "alter user \"$user\" password '$POSTGRES_PASSWORD'"
  [ -z "${DB_USER:-}" ] || sql -c "create user \"$DB_USER\" superuser password '${DB_PASSWORD:-}'"
  for file in /docker-entrypoint-initdb.d/*.sql; do
    [ ! -e "$file" ] || sql -f "$file"
  done
  kill -TERM "$server"
  wait "$server" || true
fi
exec $as_postgres postgres -D "$PGDATA" -c listen_addresses=0.0.0.0
