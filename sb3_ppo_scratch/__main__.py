"""The command line: `python -m sb3_ppo_scratch COMMAND …`, also installed as `sb3-ppo-scratch`."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from sb3_ppo_scratch import __version__
from sb3_ppo_scratch.benchmark.commands import add_benchmark_commands
from sb3_ppo_scratch.command_words import add_command
from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError
from sb3_ppo_scratch.export.commands import add_export_command
from sb3_ppo_scratch.film.commands import add_film_command
from sb3_ppo_scratch.hyperparams import hyperparams_files, hyperparams_folder
from sb3_ppo_scratch.show.commands import add_show_command
from sb3_ppo_scratch.zoo.commands import ZOO_COMMANDS, ConfigError, run_zoo_command

DESCRIPTION = "PPO from scratch for Stable-Baselines3: rl_zoo3's commands with `--algo ppo_scratch`, and more."
USER_MISTAKES = (
    ConfigError,
    ArgumentError,
    ArgumentTypeError,
    FileExistsError,
    FileNotFoundError,
    NotADirectoryError,
    PermissionError,
)
"""What ends the program with one line in place of a traceback."""
EXAMPLES = """examples:
  python -m sb3_ppo_scratch train --algo ppo_scratch --env LunarLander-v2
  python -m sb3_ppo_scratch enjoy --algo ppo_scratch --env LunarLander-v2 -f logs --no-render
  python -m sb3_ppo_scratch train --help          all options of a command
  python -m sb3_ppo_scratch train --vec-env sharded  and envpool: beside rl_zoo3's, ways to step many environments
  python -m sb3_ppo_scratch hyperparams           where the YAML files lie
  python -m sb3_ppo_scratch hyperparams --copy .  a copy to edit, for use with `train -conf FILE`
  python -m sb3_ppo_scratch benchmark run small   CartPole beside stock PPO; then: benchmark report logs/benchmark/small
  python -m sb3_ppo_scratch benchmark speed --quick
                                                  steps per second beside stock PPO, in about two minutes
  python -m sb3_ppo_scratch benchmark ladder      REINFORCE to PPO, rung by rung, beside stock PPO
  python -m sb3_ppo_scratch film logs/ppo_scratch/LunarLander-v2_1/LunarLander-v2.zip --out lander.gif
  python -m sb3_ppo_scratch export logs/ppo_scratch/LunarLander-v2_1/LunarLander-v2.zip  as ONNX
  python -m sb3_ppo_scratch show model.zip        what a saved file holds, without running any of it
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line; rl_zoo3's commands stand in it for `--help` and take rl_zoo3's own arguments.

    Returns:
        The parser.
    """
    parser = argparse.ArgumentParser(
        prog="sb3-ppo-scratch",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in ZOO_COMMANDS.items():
        commands.add_parser(name, help=purpose, add_help=False)
    hyperparams = add_command(
        commands,
        "hyperparams",
        purpose="show where the YAML files lie, or copy them",
        description="Print the paths of this project's hyperparameter files, or copy them.",
        examples=("hyperparams", "hyperparams --copy ."),
    )
    hyperparams.add_argument("--copy", metavar="DIR", type=Path, help="folder to copy the files to")
    hyperparams.set_defaults(run=run_hyperparams_command)
    add_benchmark_commands(commands)
    add_film_command(commands)
    add_export_command(commands)
    add_show_command(commands)
    return parser


def run_hyperparams_command(words: argparse.Namespace) -> int:
    """Run `hyperparams`.

    Args:
        words: The parsed command line.

    Returns:
        The exit status.
    """
    show_hyperparams(words.copy)
    return 0


def show_hyperparams(copy_to: Path | None) -> None:
    """Print the paths of the YAML files, or copy them and print the copies' paths.

    Args:
        copy_to: Folder to copy them to; it is made if need be.

    Raises:
        FileExistsError: If a copy would replace a file; nothing is copied then.
    """
    files = hyperparams_files()
    if copy_to is None:
        print(*files, sep="\n")
        return
    targets = {file: copy_to / file.relative_to(hyperparams_folder()) for file in files}
    taken = [str(target) for target in targets.values() if target.exists()]
    if taken or (copy_to.exists() and not copy_to.is_dir()):
        obstacle = ", ".join(taken) or f"{copy_to}, which is no folder,"
        raise FileExistsError(f"{obstacle} exists already; choose another folder for --copy.")
    for file, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        print(shutil.copyfile(file, target))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after the program's name; None: those of this process.

    Returns:
        The exit status: 0, 2 if the user has to change something, or 130 if Ctrl-C has stopped it.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and words[0] in ZOO_COMMANDS:
            run_zoo_command(words[0], words[1:])
            return 0
        parsed = build_parser().parse_args(words)
        status: int = parsed.run(parsed)
    except USER_MISTAKES as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
