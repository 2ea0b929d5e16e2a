"""Tests of docs/from-reinforce-to-ppo.md: everything it points at exists, and a short form of it runs through."""

import ast
import re
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
TUTORIAL = DOCS / "from-reinforce-to-ppo.md"
TEXT = TUTORIAL.read_text()
CELLS = jupytext.reads(TEXT, fmt="md").cells
CODE = "\n".join(cell.source for cell in CELLS if cell.cell_type == "code")
PARAGRAPHS = [text for cell in CELLS if cell.cell_type == "markdown" for text in cell.source.split("\n\n")]
FIGURES = re.findall(r"!\[[^]]+\]\((tutorial/[^)]+)\)", TEXT)
SHORT_FORM_SECONDS = 600


def names_defined_in(path: Path) -> set[str]:
    """Functions and classes at a file's top level."""
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:)([^)#\s]+)", TEXT))))
def test_links_lead_somewhere(link: str) -> None:
    assert (DOCS / link).exists()


@pytest.mark.parametrize(("name", "path"), sorted(set(re.findall(r"\[`(\w+)`\]\((\.\./[\w/]+\.py)\)", TEXT))))
def test_functions_that_formulas_point_at_are_there(name: str, path: str) -> None:
    assert name in names_defined_in((DOCS / path).resolve())


@pytest.mark.parametrize("place", [place for place, text in enumerate(PARAGRAPHS) if text.startswith("$$")])
def test_formulas_point_at_code(place: int) -> None:
    around = "".join(PARAGRAPHS[place - 1 : place + 2])
    assert re.search(r"\]\(\.\./[\w/]+\.py\)", around), PARAGRAPHS[place]


def test_figures_shown_are_those_that_the_code_makes() -> None:
    made = re.findall(r'PICTURES / "([^"]+)"', CODE)
    assert [f"tutorial/{name}" for name in made] == FIGURES


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_are_pictures(figure: str) -> None:
    with Image.open(DOCS / figure) as picture:
        assert min(picture.size) >= 150


def test_the_notebook_is_the_same_text_run_whole() -> None:
    notebook = nbformat.read(TUTORIAL.with_suffix(".ipynb"), as_version=4)
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in CELLS]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.slow
def test_the_short_form_runs_from_start_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "1")
    monkeypatch.setenv("PICTURES", "pictures")
    notebook = jupytext.reads(TEXT, fmt="md")
    client = nbclient.NotebookClient(
        notebook, timeout=SHORT_FORM_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert {f"tutorial/{path.name}" for path in (tmp_path / "pictures").iterdir()} == set(FIGURES)
