"""The guides tell the truth: their Python runs, and their figures are what it draws.

The ```` ```python ```` blocks of each file under ``docs/theory`` run in order, in one namespace and
an empty folder; ``GLOTTIS_DRAW_FIGURES=1`` keeps what they draw, in ``figures/`` beside the guide.
Elsewhere blocks speak of the reader's own files, so only what they import is tried.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
from pathlib import Path

import matplotlib
import pytest

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
WITH_CODE = sorted(path for path in DOCS.rglob("*.md") if BLOCK.search(path.read_text("utf-8")))
THEORY = [path for path in WITH_CODE if path.is_relative_to(DOCS / "theory")]
GUIDES = ("alignment", "diffusion-prior", "flows", "mixtures", "trajectories", "vits")
OTHERS = [path for path in WITH_CODE if path not in THEORY]


@pytest.mark.parametrize("guide", THEORY, ids=lambda path: path.name)
def test_python_runs_and_draws_the_figures(guide, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "figures").mkdir()
    text = guide.read_text(encoding="utf-8")
    namespace = {"__name__": guide.stem}
    for match in BLOCK.finditer(text):
        # Blank lines before the block, so that a traceback names the guide's own line.
        lines = text[: match.start(1)].count("\n")
        exec(compile("\n" * lines + match.group(1), str(guide), "exec"), namespace)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    shown = {name for name in IMAGE.findall(text) if not name.startswith("http")}
    drawn = {f"figures/{path.name}" for path in (tmp_path / "figures").iterdir()}
    assert drawn <= shown, "drawn, but not shown"
    if os.environ.get("GLOTTIS_DRAW_FIGURES"):
        (guide.parent / "figures").mkdir(exist_ok=True)
        for name in drawn:
            shutil.copy(tmp_path / name, guide.parent / name)
    for name in shown:
        assert (guide.parent / name).is_file(), f"{name} is missing: GLOTTIS_DRAW_FIGURES=1"
        assert (guide.parent / name).stat().st_size < 100_000


@pytest.mark.parametrize("guide", OTHERS, ids=lambda path: path.name)
def test_python_compiles_and_imports_what_exists(guide):
    for match in BLOCK.finditer(guide.read_text(encoding="utf-8")):
        tree = ast.parse(match.group(1), str(guide))
        imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
        for node in imports:
            exec(compile(ast.Module([node], []), str(guide), "exec"), {})


def test_there_are_guides():
    assert {f"{name}.md" for name in GUIDES} <= {path.name for path in THEORY}
