#!/bin/bash
# Four nodes under Flux: `flux batch -N4 examples/flux/job.sh COMMAND...`
flux run -N4 -n8 spinney run --report report -- "$@"
