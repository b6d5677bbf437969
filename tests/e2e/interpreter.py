"""The interpreter with the SDKs that every check with real clients runs in."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("SKEIN_CACHE", pathlib.Path.home() / ".cache" / "skein"))


def python():
    """An interpreter with the requirements, made once per version of their list."""
    requirements = HERE / "requirements.txt"
    home = CACHE / f"e2e-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin/pip", "install", "-q", "-r", requirements], check=True)
        (home / "ready").touch()
    return home / "bin/python"
