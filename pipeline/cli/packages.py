"""The Python packages that tritmcu uses, who needs them, and which extra of an installation brings them."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core import paths


@dataclass(frozen=True)
class Package:
    """A distribution on a package index."""

    name: str
    """Its name there."""
    module: str
    """What `import` calls it."""
    needed_by: str
    """Stages or features."""
    extra: str = ""
    """The extra that brings it; "": every installation has it."""

    def install(self) -> str:
        """The command that installs it."""
        if paths.RESOURCES != paths.INSTALLED:
            return "make setup"
        return f"pip install 'tritmcu[{self.extra}]'" if self.extra else "pip install tritmcu"


PACKAGES = (
    Package("numpy", "numpy", "every stage"),
    Package("pydantic", "pydantic", "job and board files"),
    Package("jinja2", "jinja2", "render, report"),
    Package("pyserial", "serial", "flash, stream"),
    Package("cobs", "cobs", "flash, stream"),
    Package("pyelftools", "elftools", "build"),
    Package("rich", "rich", "progress bars and tables"),
    Package("matplotlib", "matplotlib", "report"),
    Package("pillow", "PIL", "images of your own"),
    Package("tensorflow", "tensorflow", "train, import of Keras files", "train"),
    Package("keras", "keras", "train, import of Keras files", "train"),
    Package("qkeras-v3", "qkeras", "train", "train"),
    Package("scikit-learn", "sklearn", "the digits data set", "train"),
    Package("scipy", "scipy", "the official files of SVHN", "train"),
    Package(
        "adversarial-robustness-toolbox", "art", "attacks deepfool, carlini_wagner, hop_skip_jump, boundary", "attack"
    ),
)


def of_module(name: str) -> Package | None:
    """The package that brings the module of that dotted name, None for one that is not used here."""
    return next((package for package in PACKAGES if package.module == name.partition(".")[0]), None)
