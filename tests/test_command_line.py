"""Tests of `sb3_ppo_scratch/__main__.py`; its zoo commands are tested in `zoo/test_zoo_commands.py`."""

from pathlib import Path

import pytest

from sb3_ppo_scratch import __version__
from sb3_ppo_scratch.__main__ import build_parser, main
from sb3_ppo_scratch.hyperparams import hyperparams_folder
from sb3_ppo_scratch.zoo.commands import ZOO_COMMANDS


def test_help_shows_every_command_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    output = capsys.readouterr().out
    for command in (*ZOO_COMMANDS, "hyperparams"):
        assert f"\n    {command}" in output
    assert "python -m sb3_ppo_scratch train --algo ppo_scratch --env LunarLander-v2" in output


COMMANDS = [
    ["hyperparams"], ["film"], ["export"], ["show"],
    *(["benchmark", kind] for kind in ("run", "report", "compare", "speed", "ladder")),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_examples_of_every_command_can_be_parsed(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*command, "--help"])
    _, examples = capsys.readouterr().out.split("examples:\n")
    for line in examples.strip().splitlines():
        words = line.strip().removeprefix("python -m sb3_ppo_scratch ").split("   ")[0].split()
        assert words[: len(command)] == command
        assert build_parser().parse_args(words).command == command[0]


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(("words", "message"), [([], "required: COMMAND"), (["trian"], "invalid choice: 'trian'")])
def test_missing_or_unknown_command_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(words)
    assert message in capsys.readouterr().err


def test_hyperparams_prints_the_files_paths(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hyperparams"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.name for path in paths} >= {"ppo_scratch.yml", "ppo_scratch_binned.yml"}
    assert all(path.is_file() for path in paths)


def test_hyperparams_are_copied_and_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "folder"
    assert main(["hyperparams", "--copy", str(target)]) == 0
    for file in hyperparams_folder().rglob("*.yml"):
        assert (target / file.relative_to(hyperparams_folder())).read_text() == file.read_text()
    assert (target / "ladder" / "reinforce.yml").is_file()
    (target / "ppo_scratch.yml").write_text("mine")
    capsys.readouterr()
    assert main(["hyperparams", "--copy", str(target)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (target / "ppo_scratch.yml").read_text() == "mine"


def test_copying_is_all_or_nothing_and_needs_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ppo_scratch_binned.yml").write_text("mine")
    assert main(["hyperparams", "--copy", str(tmp_path)]) == 2
    assert not (tmp_path / "ppo_scratch.yml").exists()
    assert main(["hyperparams", "--copy", str(tmp_path / "ppo_scratch_binned.yml")]) == 2
    assert "which is no folder" in capsys.readouterr().err
