"""Build sdist and wheel from the files that git tracks: what lies beside them, such as `.env`, is not packed."""

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WHEEL_FOLDERS = {"valstab": "valstab", "hydra_plugins": "hydra_plugins", "conf": "valstab/conf"}
"""Folders of the repository, and where they stand in the wheel."""


class TrackedFiles(BuildHookInterface):
    """Adds each tracked file; `pyproject.toml` selects none by itself."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files of a package. An editable installation has none.

        Raises:
            RuntimeError: if git can't tell which files it tracks.
        """
        if version == "editable":
            return
        root = Path(self.root)
        for name in tracked_files(root):
            folder, _, rest = name.partition("/")
            if self.target_name == "sdist":
                build_data["force_include"][str(root / name)] = name
            elif rest and folder in WHEEL_FOLDERS:
                build_data["force_include"][str(root / name)] = f"{WHEEL_FOLDERS[folder]}/{rest}"


def tracked_files(root: Path) -> list[str]:
    """Return the paths of the files to pack: those that git tracks, or in an unpacked sdist all that are not hidden.

    Raises:
        RuntimeError: if git can't tell which files it tracks.
    """
    if not (root / ".git").exists():
        paths = (path.relative_to(root) for path in sorted(root.rglob("[!.]*")) if path.is_file())
        return [path.as_posix() for path in paths if not any(part[0] in "._" for part in path.parts[:-1])]
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise RuntimeError(f"only files that git tracks are packed, and git failed: {said.decode().strip()}") from None
    return [name for name in listed.split("\0") if (root / name).is_file()]
