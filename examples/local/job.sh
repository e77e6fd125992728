#!/bin/sh
# Four nodes, two tasks on each, all on this machine: `examples/local/job.sh COMMAND...`
exec spinney run --local-nodes 4 --tasks-per-node 2 --report report -- "$@"
