#!/bin/sh
# Makes Temporal's databases on PostgreSQL or updates them; may be run again at any time before the server starts.
set -eu

tool() {
  temporal-sql-tool --plugin postgres12 --ep "${SQL_HOST:-postgres}" -p "${SQL_PORT:-5432}" -u "${SQL_USER:-perdure}" --pw "$SQL_PASSWORD" "$@"
}

database() {
  tool --db "$1" create
  # Refused where a schema is there already; the update then says whether all is well.
  tool --db "$1" setup-schema -v 0.0 || true
  tool --db "$1" update-schema --schema-name "$2"
}

database temporal postgresql/v12/temporal
database temporal_visibility postgresql/v12/visibility
