"""Ask pip-audit about what is installed here; known holes fail, an unreachable service does not.

Where the service that knows the holes cannot be reached, or knows none of the packages, that is
said on a line that begins with ``NOT AUDITED``.
"""

from __future__ import annotations

import json
import subprocess
import sys

COMMAND = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off"]
COMMAND += ["--skip-editable", "--local", "--timeout=15"]
SECONDS = 300


def main() -> int:
    """Run it and report; 1 for a known hole."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        print(f"NOT AUDITED: no answer within {SECONDS} seconds")
        return 0
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"NOT AUDITED: {last}")
        return 0
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        print(f"NOT AUDITED: the service knows none of {len(packages)} packages")
        return 0
    holes = [package for package in asked if package["vulns"]]
    for package in holes:
        known = ", ".join(hole["id"] for hole in package["vulns"])
        print(f"{package['name']} {package['version']}: {known}")
    print(f"{len(asked)} packages audited, {len(packages) - len(asked)} unknown to the service")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
