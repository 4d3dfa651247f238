"""What a user of dask-saturn does, with the package as it was published.

Arguments: the URL, the token, the project's id. Prints one JSON object.
"""
import json
import logging
import os
import socket
import sys

real = socket.getaddrinfo


def resolve(host, *args, **kwargs):
    """Names of this machine, whether or not its resolver knows that they are."""
    name = host.decode() if isinstance(host, bytes) else host
    return real("127.0.0.1" if str(name).endswith(".localhost") else host, *args, **kwargs)


socket.getaddrinfo = resolve
url, token, project = sys.argv[1:4]
os.environ["SATURN_BASE_URL"] = url
os.environ["SATURN_TOKEN"] = token

import dask_saturn
from distributed import Client
from dask_saturn import SaturnCluster


class Keep(logging.Handler):
    lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


logging.getLogger("dask-saturn").addHandler(Keep())

options = dict(n_workers=2, worker_size="large", scheduler_size="medium", nthreads=1, worker_is_spot=False)
if dask_saturn.__version__.startswith("0.2"):
    from dask_saturn.external import ExternalConnection

    options["external_connection"] = ExternalConnection(project_id=project, base_url=url, saturn_token=token)

cluster = SaturnCluster(**options)
with Client(cluster) as client:
    total = sum(client.gather(client.map(lambda n: n * n, range(10))))
cluster.scale(1)
cluster.adapt(1, 2)
status = cluster.status
workers = list(cluster.scheduler_info["workers"])
first = cluster
options.update(n_workers=1, worker_size="medium")
cluster = SaturnCluster.reset(**options)
with Client(cluster) as client:
    after_reset = client.submit(lambda n: n * n, 3).result()
first_status = first.status
cluster.close()
print(json.dumps({"log": Keep.lines, "total": total, "status": status, "first": first.dask_cluster_id,
                  "first_status": first_status,
                  "second": cluster.dask_cluster_id, "after_reset": after_reset, "workers": workers,
                  "version": dask_saturn.__version__}))
