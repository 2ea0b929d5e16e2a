"""The rl_zoo3 hyperparameter files, installed as package data, and where they lie."""

from pathlib import Path


def hyperparams_folder() -> Path:
    """Find the folder with the YAML files.

    Returns:
        Its path.
    """
    return Path(__file__).resolve().parent


def hyperparams_files() -> list[Path]:
    """List the YAML files, those of the ladder (a folder of its own) last.

    Returns:
        Their paths.
    """
    return [*sorted(hyperparams_folder().glob("*.yml")), *sorted(hyperparams_folder().glob("ladder/*.yml"))]


def hyperparams_file(name: str) -> Path:
    """Find one of the YAML files.

    Args:
        name: Its name, for example `ppo_scratch.yml` or `ladder/reinforce.yml`.

    Returns:
        Its path.

    Raises:
        FileNotFoundError: If there is no such file; the message lists those that there are.
    """
    path = hyperparams_folder() / name
    if not path.is_file():
        available = ", ".join(file.relative_to(hyperparams_folder()).as_posix() for file in hyperparams_files())
        raise FileNotFoundError(f"There is no hyperparameter file {name!r}; there are: {available}.")
    return path
