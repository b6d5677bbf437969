#!/usr/bin/env python3
"""Checks that every relative link in the project's Markdown leads to a file that exists."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
names = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
).stdout.split()
broken = []
for name in names:
    page = ROOT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        target = link.split("#")[0]
        if target and "://" not in target and not (page.parent / target).exists():
            broken.append(f"{name}: {link}")
print("\n".join(broken) or f"{len(names)} pages, every link leads somewhere")
sys.exit(bool(broken))
