"""A real Ray of several nodes on one machine, in a process of its own: ``python tests/cluster/ray_cluster.py``.

Prints the address, then obeys lines: ``add`` a node, ``remove`` the one added last without a goodbye. The end of its
input is its own.
"""

from __future__ import annotations

import sys
from typing import Any


def raylets(node: Any) -> Any:
    """The processes that make up a node of the cluster."""
    return node.all_processes["raylet"]


def main() -> None:
    """Serve until the input ends."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(num_cpus=1))
        elif line.strip() == "remove":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        # On a machine with far more to do than cores, Ray may hold a living node for dead and end it.
        alive = all(each.process.poll() is None for node in [cluster.head_node, *nodes] for each in raylets(node))
        print("done" if alive else "dead", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
