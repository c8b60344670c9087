#!/usr/bin/env bash
# Does a running WVS do its main job? Nine steps through wvsctl, each checked; exit code 0 only if all hold.
#
#   WVS_API_URL=http://127.0.0.1:8080 WVS_METRICS_URLS=http://127.0.0.1:9091 scripts/smoke-test.sh
#
# WVS_API_URL       the API
# WVS_METRICS_URLS  metrics ports, separated by commas; a worker's among them
# WVSCTL            the command to call, if it is not wvsctl
# SMOKE_TIMEOUT     how long one task may take (60s)
#
# It leaves a disabled workspace smoke-… with one snapshot. It needs bash and Python 3.11, and no jq.
set -euo pipefail

: "${WVS_API_URL:?say where the API is}" "${WVS_METRICS_URLS:?say where the metrics are, a worker\'s among them}"
export WVS_API_URL WVS_METRICS_URLS WVS_TIMEOUT="${SMOKE_TIMEOUT:-60s}"
read -ra WVSCTL_WORDS <<<"${WVSCTL:-wvsctl}"
WSID="smoke-$(date +%s)-$$"
STEP=0
STEPS=9

wvsctl() { "${WVSCTL_WORDS[@]}" "$@"; }

# it PYTHON-EXPRESSION: its value, of the JSON on standard input, which is called `it`.
it() { python3 -c 'import json, sys; it = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

step() {
  STEP=$((STEP + 1))
  printf '%d/%d  %s\n' "$STEP" "$STEPS" "$1"
}

# holds JSON PYTHON-EXPRESSION: or it is said what does not hold, of what, and the test is over.
holds() {
  if [[ "$(it "$2" <<<"$1")" != True ]]; then
    printf 'FAILED in step %d: not %s, of\n%s\n' "$STEP" "$2" "$1" >&2
    exit 1
  fi
}

trap 'code=$?; ((code == 0)) || printf "the smoke test failed in step %d of %d; its workspace is %s\n" "$STEP" "$STEPS" "$WSID" >&2' EXIT

step "workspace create $WSID --wait"
answer=$(wvsctl workspace create "$WSID" --owner smoke-test --wait --json)
holds "$answer" 'it["status"] == "SUCCEEDED"'
answer=$(wvsctl workspace get "$WSID" --json)
holds "$answer" 'it["state"] == "ACTIVE"'

step "snapshot create --wait --output json"
answer=$(wvsctl snapshot create "$WSID" -m "the first" --wait --output json)
holds "$answer" 'it["status"] == "SUCCEEDED"'
FIRST=$(it 'it["snapshot_id"]' <<<"$answer")

step "snapshot list shows $FIRST"
answer=$(wvsctl snapshot list "$WSID" --json)
holds "$answer" "[one['snapshot_id'] for one in it['items']] == ['$FIRST']"

step "current set to it --wait --yes"
answer=$(wvsctl current set "$WSID" "$FIRST" --wait --yes --json)
holds "$answer" 'it["status"] == "SUCCEEDED"'
answer=$(wvsctl current get "$WSID" --json)
holds "$answer" "it['current_snapshot_id'] == '$FIRST'"

step "a second snapshot"
answer=$(wvsctl snapshot create "$WSID" -m "the second" --wait --json)
holds "$answer" 'it["status"] == "SUCCEEDED"'
SECOND=$(it 'it["snapshot_id"]' <<<"$answer")

step "snapshot drop $SECOND --wait, and it is gone from the list"
answer=$(wvsctl snapshot drop "$WSID" "$SECOND" --wait --json)
holds "$answer" 'it["status"] == "SUCCEEDED"'
answer=$(wvsctl snapshot list "$WSID" --json)
holds "$answer" "[one['snapshot_id'] for one in it['items']] == ['$FIRST']"

step "task list shows what was done"
answer=$(wvsctl task list --wsid "$WSID" --status SUCCEEDED --json)
holds "$answer" 'sorted(one["op"] for one in it["items"]) == ["init_workspace", "set_current", "snapshot_create", "snapshot_create", "snapshot_drop"]'

step "obs summary shows task_success_rate"
answer=$(wvsctl obs summary --json)
holds "$answer" '0 < (it["task_success_rate"] or 0) <= 1'
printf '     %s\n' "$(it '"{:.2%}".format(it["task_success_rate"])' <<<"$answer")"

step "workspace disable"
answer=$(wvsctl workspace disable "$WSID" --json)
holds "$answer" 'it["state"] == "DISABLED"'

echo "all $STEPS steps passed"
