"""Reads `cargo metadata` and fails where a locked dependency needs a newer Rust than this project promises."""

import json
import sys


def numbers(version):
    return [int(part) for part in version.split(".")] + [0] * (3 - len(version.split(".")))


metadata = json.load(sys.stdin)
members = set(metadata["workspace_members"])
ours = max(numbers(package["rust_version"]) for package in metadata["packages"] if package["id"] in members)
bad = [
    f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
    for package in metadata["packages"]
    if package.get("rust_version") and numbers(package["rust_version"]) > ours
]
print("\n".join(bad) or f"no dependency needs more than Rust {'.'.join(map(str, ours))}")
sys.exit(bool(bad))
