# Which cluster, which namespace and which images; sourced by every script of this folder.
# Each value can be given in the environment:
#   make e2e CLUSTER=existing KUBECONFIG=~/.kube/config NAMESPACE=platform-e2e
# shellcheck shell=bash disable=SC2034

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HERE=$ROOT/deploy/cluster
BIN=$ROOT/bin
CHARTS=$ROOT/charts

STATE=${CLUSTER_STATE:-.local/cluster}
[[ $STATE == /* ]] || STATE=$ROOT/$STATE

NAMESPACE=${NAMESPACE:-platform}
# How far the ports on this machine are from those of the services; another one leaves room for a stack beside the cluster.
OFFSET=${FORWARD_OFFSET:-0}
# The simulator has the same ports here and there, because services and browsers call it by the same name.
SIMULATOR_PORTS=($((18101 + OFFSET)) $((18102 + OFFSET)) $((18103 + OFFSET)) $((18104 + OFFSET)))
# Never pulled from anywhere: `make images` makes them under this name and `make install` hands them to the cluster.
REGISTRY=${REGISTRY:-localhost}
VERSION=${VERSION:-$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")}

# In the order in which they are installed: each finds what it needs from those before it.
read -r -a SERVICES <<<"${PLATFORM_SERVICES:-auth-api chat-api oauth-integrations oauth-relay}"
# Made like a service, for tests alone.
HELPERS=(driver simulator)

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

has_docker() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

# kind where there is a Docker daemon, else the node of this folder; `existing` is whatever KUBECONFIG names.
CLUSTER=${CLUSTER:-$(if has_docker; then echo kind; else echo node; fi)}
KIND_NAME=${KIND_NAME:-platform}
case $CLUSTER in
kind) KUBECONFIG=$STATE/kind.kubeconfig ;;
node) KUBECONFIG=$STATE/node/kubeconfig ;;
existing) KUBECONFIG=${KUBECONFIG:-$HOME/.kube/config} ;;
*) die "CLUSTER is $CLUSTER; it is kind, node or existing" ;;
esac
export KUBECONFIG CLUSTER

# pinned TOOL: its file in ./bin, built first where it is missing.
pinned() { "$ROOT/deploy/tools/build" "$1"; }

# The machine's kubectl, else the pinned one; by this name for the tests as well.
if ! command -v kubectl >/dev/null; then
    mkdir -p "$STATE/bin"
    ln -sfn "$(realpath "$(pinned kubectl)")" "$STATE/bin/kubectl"
    PATH=$STATE/bin:$PATH
fi
