"""What pyproject.toml cannot say: resources lie at the root of the repository, and inside the package in a wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RESOURCES = ("boards", "firmware", "jobs", "templates", "zoo")


class BuildWithResources(build_py):
    """Copies the resources to where pipeline/core/paths.py looks for them. An editable install finds them in place."""

    def run(self) -> None:
        if not self.editable_mode:
            # A module or plug-in deleted since an earlier build would still be found in the folder it was built in.
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for name in RESOURCES:
                shutil.copytree(name, Path(self.build_lib, "pipeline", "resources", name))
            shutil.copy("LICENSE", Path(self.build_lib, "pipeline", "resources"))  # exports hold it


setup(cmdclass={"build_py": BuildWithResources})
