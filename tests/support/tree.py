"""The project's own tree, for tests that look at files rather than at behaviour."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "drivers", "storage", "config", "simulators", "verifier")

#: What no commit holds, for a tree that came without git's own folder: .gitignore's entries.
_NEVER_COMMITTED = frozenset(
    [
        *(".git", ".venv", "__pycache__", "node_modules", "data", "dist", "build"),
        *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", ".hypothesis"),
    ]
)


def project_files() -> list[str]:
    """Paths of the committed files that exist, relative to the root, sorted; without git, every file not ignored."""
    git = shutil.which("git")
    if git is not None and (ROOT / ".git").exists():
        # A clone may belong to somebody else than who runs the tests.
        listing = subprocess.run(
            [git, "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z"],
            capture_output=True,
            check=True,
            text=True,
        )
        names = [name for name in listing.stdout.split("\0") if name]
    else:
        names = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if not _NEVER_COMMITTED.intersection(path.relative_to(ROOT).parts) and path.suffix != ".pyc"
        ]
    return sorted(name for name in names if (ROOT / name).is_file())
