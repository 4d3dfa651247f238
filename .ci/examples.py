"""Names of the examples of the package dask-examples, from cargo's metadata on stdin."""

import json
import sys

for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "dask-examples":
        for target in package["targets"]:
            if "example" in target["kind"]:
                print(target["name"])
