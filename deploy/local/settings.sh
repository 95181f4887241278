# Where the local stack lives and which ports it takes; sourced by every script of this folder.
# Each value can be given in the environment, so that two stacks fit on one machine:
#   make up LOCAL_STATE=.local-2 PORT_OFFSET=100
# shellcheck shell=bash disable=SC2034

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HERE=$ROOT/deploy/local
BIN=$ROOT/bin

STATE=${LOCAL_STATE:-.local}
[[ $STATE == /* ]] || STATE=$ROOT/$STATE
LOGS=$STATE/logs
ENVS=$STATE/env
RUN=$STATE/run

PROFILE=${PROFILE:-debug}
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
[[ $TARGET == /* ]] || TARGET=$ROOT/$TARGET

PORT_OFFSET=${PORT_OFFSET:-0}
AUTH_API_PORT=${AUTH_API_PORT:-$((8000 + PORT_OFFSET))}
AUTH_API_ADMIN_PORT=${AUTH_API_ADMIN_PORT:-$((9000 + PORT_OFFSET))}
CHAT_API_PORT=${CHAT_API_PORT:-$((8001 + PORT_OFFSET))}
CHAT_API_ADMIN_PORT=${CHAT_API_ADMIN_PORT:-$((9001 + PORT_OFFSET))}
OAUTH_INTEGRATIONS_PORT=${OAUTH_INTEGRATIONS_PORT:-$((8010 + PORT_OFFSET))}
OAUTH_INTEGRATIONS_ADMIN_PORT=${OAUTH_INTEGRATIONS_ADMIN_PORT:-$((9010 + PORT_OFFSET))}
OAUTH_RELAY_PORT=${OAUTH_RELAY_PORT:-$((8020 + PORT_OFFSET))}
OAUTH_RELAY_ADMIN_PORT=${OAUTH_RELAY_ADMIN_PORT:-$((9020 + PORT_OFFSET))}
# The outside world, simulated: an origin for each provider, and one to steer them.
SIMULATOR_PORT=${SIMULATOR_PORT:-$((18100 + PORT_OFFSET))}
SIMULATOR_GITHUB_PORT=${SIMULATOR_GITHUB_PORT:-$((18101 + PORT_OFFSET))}
SIMULATOR_ATLASSIAN_PORT=${SIMULATOR_ATLASSIAN_PORT:-$((18102 + PORT_OFFSET))}
SIMULATOR_SLACK_PORT=${SIMULATOR_SLACK_PORT:-$((18103 + PORT_OFFSET))}
# Not 5432 and 27017: those belong to whatever database the machine already runs.
LOCAL_POSTGRES_PORT=${LOCAL_POSTGRES_PORT:-$((15432 + PORT_OFFSET))}
LOCAL_MONGODB_PORT=${LOCAL_MONGODB_PORT:-$((17017 + PORT_OFFSET))}

# A MONGODB_URI that names another server is used instead of one started here; our own, read from demo.env, is no other.
MONGODB_LOCAL=mongodb://127.0.0.1:$LOCAL_MONGODB_PORT/
[[ ${MONGODB_URI:-$MONGODB_LOCAL} != "$MONGODB_LOCAL" ]] || MONGODB_URI=""

DATABASES=(postgres mongodb)
SERVICES=(simulator auth-api chat-api oauth-integrations oauth-relay)

# As root PostgreSQL runs as somebody else, who may not be able to look below this folder.
if [[ $EUID -eq 0 ]]; then
    DATA=/var/tmp/platform-$(printf '%s' "$STATE" | cksum | cut -d' ' -f1)
else
    DATA=$STATE/data
fi

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
