"""The README's Python runs, its YAML is valid, and its links and names lead somewhere."""

import inspect
import re
from pathlib import Path

import pytest
import yaml
from rl_zoo3.utils import get_wrapper_class

from sb3_ppo_scratch import PPOScratch, wrappers

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=["algorithm", "resume", "files", "wrappers"])
def test_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert "model" in names


def test_yaml_is_valid_and_its_wrappers_exist() -> None:
    [text] = blocks("yaml")
    [settings] = yaml.safe_load(text).values()
    assert get_wrapper_class(settings) is not None


def test_relative_links_lead_to_files() -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in target]
    assert len(targets) > 5
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_own_arguments_and_wrappers_are_all_described() -> None:
    own = [p.name for p in inspect.signature(PPOScratch.__init__).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in own:
        assert f"| `{name}=" in TEXT
    for name in set(wrappers.__all__) - {"RunningMoments"}:
        assert f"| `{name}(env" in TEXT


def test_every_dependency_has_its_reason() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    [listed] = re.findall(r"^dependencies = \[\n(.*?)^\]", pyproject, flags=re.DOTALL | re.MULTILINE)
    table = TEXT.split("## Dependencies, and why each")[1].split("##")[0]
    for name in re.findall(r'^    "([\w-]+)', listed, flags=re.MULTILINE):
        assert name in table, name


def test_speed_table_is_quoted_from_the_results() -> None:
    section = TEXT.partition("\n## Speed\n")[2].partition("\n## ")[0]
    quoted = [line for line in section.splitlines() if line.startswith("|")]
    results = (ROOT / "docs" / "results" / "speed.md").read_text().splitlines()
    assert len(quoted) >= 5
    assert not set(quoted) - set(results)
