#!/usr/bin/env bash
# All checks and benchmarks on a GPU in one call of ten minutes, without make and without a network: see docs/gpu.md.
#   bash benchmarks/gpu/run.sh                            on a host with a GPU and .wheels/
#   bash benchmarks/gpu/run.sh --device cpu --small       the same script, rehearsed in two minutes
#   OUT=results bash benchmarks/gpu/run.sh                the JSON in another folder
# PYTHON names the interpreter that has torch; python3 by default.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec "${PYTHON:-python3}" -m benchmarks.gpu.run "$@"
