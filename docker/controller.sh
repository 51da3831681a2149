#!/bin/sh
# Ray lets a program in only on a node of the cluster: for the verbs that train, this container becomes one, without CPUs.
case "$1" in
submit | resume | plan) ;;
*) exec seqsweep "$@" ;;
esac
# In a session of its own: a signal is for seqsweep, which needs the node until it has ended.
setsid -w ray start --address "$RAY_ADDRESS" --num-cpus 0 --object-store-memory 1500000000 >/tmp/ray-start.log 2>&1 || {
    cat /tmp/ray-start.log >&2
    exit 9
}
trap : INT TERM
seqsweep "$@"
code=$?
ray stop >/dev/null 2>&1 # else Ray takes half a minute to miss this node, and tells the next controller of it
exit $code
