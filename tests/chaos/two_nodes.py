"""A Ray cluster of two nodes on this machine, the second of which comes and goes as standard input says."""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    """Say the address, then obey `remove` and `add` until the input ends."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    print("address", cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(second, allow_graceful=False)
        else:
            second = cluster.add_node(num_cpus=1)
        print("done", line.strip(), flush=True)
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
