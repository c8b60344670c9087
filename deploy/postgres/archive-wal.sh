#!/bin/sh
# archive_command of both PostgreSQL servers: archive-wal.sh SEGMENT TARGET. Keeps TARGET.gz; 0 only when it is on the
# disk, else PostgreSQL keeps the segment and asks again. A segment that archive_timeout closed early is mostly zeros:
# compressed it is small, and a minute costs kilobytes instead of 16 MiB.
set -eu
segment=$1
target=$2.gz
part=$target.part

# Archived before, and PostgreSQL fell before it had noted it: the same content is success, another one never is.
if [ -f "$target" ]; then
  gzip -dc "$target" | cmp -s - "$segment" && exit 0
  echo "archive-wal: $target is there with another content: not touched" >&2
  exit 1
fi
gzip -c "$segment" >"$part"
sync "$part"
mv "$part" "$target"
sync "$(dirname "$target")"
