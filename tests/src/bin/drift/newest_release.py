"""The newest release of distributed on the package index, as the last line."""

import os
import re
import subprocess
import sys
import urllib.request

pip = [sys.executable, "-m", "pip", "index", "versions", "distributed", "--disable-pip-version-check"]
asked = subprocess.run(pip, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
found = re.search(r"\(([0-9.]+)\)", asked.stdout.decode())
if asked.returncode == 0 and found:
    print(found.group(1))
else:
    # Environments that uv made have no pip.
    index = os.environ.get("UV_INDEX_URL") or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
    with urllib.request.urlopen(index.rstrip("/") + "/distributed/", timeout=60) as page:
        names = re.findall(r"distributed-([0-9]+(?:\.[0-9]+)+)(?:\.tar\.gz|-py)", page.read().decode())
    print(max(names, key=lambda name: [int(part) for part in name.split(".")]))
