#!/usr/bin/env bash
# A first contact with a GPU in two commands of a few minutes each, the repairs between them:
#
#     bash benchmarks/gpu/contact.sh first DIR     numbers, speed, the tests (6 minutes)
#     bash benchmarks/gpu/contact.sh second DIR    races and addresses, numbers and speed again (5)
#
# The parts alone are: numbers, speed, tests, races.
#
# Results go to DIR as they come, so that a command which is ended early has shown what it knew.
# PYTHON chooses the interpreter. What is not installed there may lie in .whl as wheels.
set -u
cd "$(dirname "$0")/../.."
part=${1:?first or second}
out=${2:?a folder for the results}
python=${PYTHON:-python3}
mkdir -p "$out"
if compgen -G '.whl/*.whl' >/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --target /tmp/site .whl/*.whl
    export PYTHONPATH="/tmp/site:$PWD"
else
    export PYTHONPATH="$PWD"
fi
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# JAX would take three quarters of the GPU's memory.
export JAX_PLATFORMS=cpu

check() { # name, seconds, patterns
    "$python" benchmarks/gpu_check.py --seconds "$2" --only "$3" --output "$out/$1"
}

numbers='contact/*,cudnn,operation/*,dropout/*,conv/*,conv_relu/*,columns/*,training/*,streams/*'
numbers="$numbers,graphs/*,network/*,same-bits/*,memory/*,autotune"

run_tests() { # seconds
    # -v: each result in a line at once; INT: what has failed by then is said.
    timeout -s INT -k 8 "$1" "$python" -m pytest --require-gpu -v -rf --tb=short -n 14 \
        -p no:cacheprovider -p no:benchmark --continue-on-collection-errors --maxfail=80 \
        -k 'cuda and not architecture and not cuda_bodies and not cuda_sources' \
        >"$out/tests.txt" 2>&1
    tail -n 60 "$out/tests.txt" | cut -c 1-160
}

sanitize() { # seconds for each tool
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    [ -n "$sanitizer" ] || return
    for tool in memcheck racecheck; do
        timeout -k 5 "$1" "$sanitizer" --tool "$tool" --error-exitcode 3 "$python" -c '
from benchmarks import gpu_check
from benchmarks.gpu.checks import Context
from xpcnn.device import resolve
context = Context(resolve("cuda"))
with context.device.active():
    for check in gpu_check.choose(["operation/float32/*", "contact/layers/float32/*"], False):
        print(check.name, gpu_check._make(check, context)["status"], flush=True)
' >"$out/$tool.txt" 2>&1
        tail -n 15 "$out/$tool.txt"
    done
}

case $part in
first)
    # CuPy's own reductions first: CUB, which replaces some of them, has its turn in the second part.
    export CUPY_ACCELERATORS=
    check numbers 95 "$numbers"
    check speed 90 'timing/*'
    run_tests 160
    ;;
second)
    sanitize 30
    check numbers 90 "$numbers"
    check speed 140 'timing/*'
    ;;
numbers) check numbers 120 "$numbers" ;;
speed) check speed 140 'timing/*' ;;
tests) run_tests 240 ;;
races) sanitize 60 ;;
*)
    echo "first, second, numbers, speed, tests or races, not $part" >&2
    exit 2
    ;;
esac
