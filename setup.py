"""Copies the pages of the findings from docs/ into the package when a wheel is built."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPages(build_py):
    """build_py, and docs/findings/*.md as fadeout/pages/."""

    def run(self) -> None:
        super().run()
        target = Path(self.build_lib) / "fadeout" / "pages"
        if self.editable_mode:
            return  # the tree itself is there
        target.mkdir(parents=True, exist_ok=True)
        for page in (Path(__file__).parent / "docs" / "findings").glob("*.md"):
            (target / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")


setup(cmdclass={"build_py": BuildWithPages})
