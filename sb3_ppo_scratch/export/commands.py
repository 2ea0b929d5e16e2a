"""The words of `python -m sb3_ppo_scratch export …`.

What is here: the arguments and their help. What is not: what they do (`onnx_file.py`), imported only when it runs.
"""

import argparse
from pathlib import Path

from sb3_ppo_scratch.command_words import add_command
from sb3_ppo_scratch.zoo.trusted_option import add_trusted_option


def add_export_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command.

    Args:
        commands: Where it is added.
    """
    parser = add_command(
        commands,
        "export",
        purpose="write a saved agent as ONNX",
        description="Write a saved agent as an ONNX file, from observations to the actions that "
        "`predict(deterministic=True)` returns. Normalisation is inside: the policy's own, and that of a VecNormalize "
        "whose statistics rl_zoo3 has saved beside the model. Stacked frames that are normalised take NaN in place of "
        "those that are not there yet, right after a reset.",
        examples=(
            "export logs/ppo_scratch/LunarLander-v2_1/LunarLander-v2.zip",
            "export model.zip --env CartPole-v1 --out policy.onnx",
        ),
    )
    parser.add_argument("model", metavar="MODEL.zip", type=Path, help="the saved model")
    parser.add_argument("--env", metavar="ID", help="the environment (default: that of rl_zoo3's folder)")
    parser.add_argument("--algo", metavar="NAME", help="the algorithm (default: that of rl_zoo3's folder)")
    parser.add_argument("--out", metavar="FILE", type=Path, help="where to (default: beside the model, .onnx)")
    add_trusted_option(parser)
    parser.set_defaults(run=run_export_command)


def run_export_command(words: argparse.Namespace) -> int:
    """Run `export`.

    Args:
        words: The parsed command line.

    Returns:
        The exit status.
    """
    from sb3_ppo_scratch.export.onnx_file import export_saved_agent

    path = export_saved_agent(words.model, words.out, env_id=words.env, algorithm=words.algo, trusted=words.trusted)
    print(path)
    return 0
