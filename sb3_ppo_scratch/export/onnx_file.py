"""Writes a policy as an ONNX file, and checks that the file chooses the same actions.

What is here: torch's exporter and the ONNX runtime, put to work. What is not: what is exported
(`deployed_policy.py`).
"""

import contextlib
import importlib.util
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.export.deployed_policy import DeployedPolicy, Observations, deployed_policy
from sb3_ppo_scratch.zoo.saved_run import find_run, open_run

NEEDED_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
"""Version of ONNX's operators: torch's exporter's own, which runtimes since 2023 know."""
EXAMPLES = 64
"""Observations from which the policy is traced."""
BATCHES = (1, 7, EXAMPLES)
"""How many of them the file is given at a time, to be compared with the policy."""
TOLERANCE = 1e-6
"""Largest difference of an action, relative where actions are larger than 1."""


def export_saved_agent(
    model_path: Path,
    out: Path | None = None,
    *,
    env_id: str | None = None,
    algorithm: str | None = None,
    trusted: bool = False,
) -> Path:
    """Write a saved agent as ONNX; say so if its observations need more than what the environment returns.

    Args:
        model_path: The zip file.
        out: The ONNX file; None: beside the model, with the ending `.onnx`.
        env_id: The environment; None: that of rl_zoo3's folder.
        algorithm: rl_zoo3's name of the algorithm; None: that of the folder, or this project's that fits the file.
        trusted: Whether to run what the files hold or name.

    Returns:
        The file's path.

    Raises:
        FileNotFoundError: If there is no such model.
        ArgumentError: If a package is missing, or the agent cannot be exported.
    """
    out = out or model_path.with_suffix(".onnx")
    if out.suffix != ".onnx":
        raise ArgumentError(f"`--out {out}` must end in .onnx.")
    check_packages()
    run = find_run(model_path, env_id, algorithm, trusted=trusted)
    model, env = open_run(run, seed=0)
    try:
        deployed = deployed_policy(model)
        write_onnx(deployed, out)
    finally:
        env.close()
    if deployed.pads_with_nan:
        print("Its observations are stacked frames; give NaN in place of frames that are not there yet.")
    return out


def check_packages() -> None:
    """Refuse to begin without the packages that are needed.

    Raises:
        ArgumentError: If one is missing.
    """
    missing = [name for name in NEEDED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ArgumentError(
            f"`export` needs the package {' and '.join(missing)}: pip install 'sb3-ppo-scratch[export]', or "
            f"pip install {' '.join(missing)}."
        )


def write_onnx(deployed: DeployedPolicy, out: Path) -> None:
    """Write a policy, and compare what the file does with what the policy does.

    Args:
        deployed: The policy.
        out: The file. Inputs are named `observation`, or like the keys of a Dict space; the output `action`. The first
            dimension of each is the batch.

    Raises:
        ArgumentError: If the policy cannot be exported, or the file chose other actions.
    """
    import onnx

    inputs = example_observations(deployed.policy.observation_space)
    program = _traced(deployed, inputs)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(".writing")
    try:
        onnx.save(program.model_proto, unfinished)
        check_file(unfinished, deployed, inputs)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)


def _traced(deployed: DeployedPolicy, inputs: Observations) -> th.onnx.ONNXProgram:
    """Let torch write down what a policy does with observations.

    Raises:
        ArgumentError: If torch cannot.
    """
    # SB3's distributions check their parameters by branching on them, which no file can do.
    validate, logger = th.distributions.Distribution._validate_args, logging.getLogger("torch.onnx")
    th.distributions.Distribution.set_default_validate_args(False)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            logger.setLevel(logging.ERROR)
            program = th.onnx.export(
                deployed,
                kwargs={"observations": inputs},
                input_names=list(inputs) if isinstance(inputs, dict) else ["observation"],
                output_names=["action"],
                opset_version=OPSET,
                dynamic_shapes={"observations": _dynamic(inputs)},
                external_data=False,
            )
    except th.onnx.OnnxExporterError as error:
        raise ArgumentError(f"torch cannot export this policy: {error.__cause__ or error}") from error
    finally:
        th.distributions.Distribution.set_default_validate_args(validate)
    assert program is not None
    return program


def _dynamic(inputs: Observations) -> Any:
    """Say that the first dimension of every input is the batch."""
    batch = {0: th.export.Dim("batch")}
    return dict.fromkeys(inputs, batch) if isinstance(inputs, dict) else batch


def example_observations(space: spaces.Space[Any], n: int = EXAMPLES) -> Observations:
    """Draw observations to trace and to compare with.

    Args:
        space: The observation space.
        n: How many.

    Returns:
        A batch, shape (n, *shape), or one for each key of a Dict space.
    """
    if isinstance(space, spaces.Dict):
        return {name: _examples(each, n, seed) for seed, (name, each) in enumerate(space.spaces.items())}
    return _examples(space, n, 0)


def _examples(space: spaces.Space[Any], n: int, seed: int) -> th.Tensor:
    """Draw observations of one space, shape (n, ...), unbounded ones from a normal distribution."""
    space.seed(seed)
    return th.as_tensor(np.stack([space.sample() for _ in range(n)]))


def check_file(path: Path, deployed: DeployedPolicy, inputs: Observations) -> None:
    """Compare a file's actions with the policy's, in batches of different sizes.

    Args:
        path: The ONNX file.
        deployed: The policy.
        inputs: Observations.

    Raises:
        ArgumentError: If the file refuses a batch, or actions differ by more than `TOLERANCE`.
    """
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for n in BATCHES:
        batch = {name: each[:n] for name, each in inputs.items()} if isinstance(inputs, dict) else inputs[:n]
        with th.no_grad():
            wanted = deployed(batch).numpy()
        entries = batch if isinstance(batch, dict) else {"observation": batch}
        try:
            actions: NDArray[Any] = session.run(None, {name: each.numpy() for name, each in entries.items()})[0]
        except (Fail, InvalidArgument, RuntimeException) as error:
            reason = str(error).splitlines()[0]
            raise ArgumentError(f"the file refuses a batch of {n}, so nothing was written: {reason}") from error
        if actions.shape != wanted.shape or not np.allclose(actions, wanted, rtol=TOLERANCE, atol=TOLERANCE):
            raise ArgumentError(f"{_difference(actions, wanted)}; nothing was written.")


def _difference(actions: NDArray[Any], wanted: NDArray[Any]) -> str:
    """Say how a file's actions, shape (batch, n), differ from the policy's."""
    if actions.shape != wanted.shape:
        return f"the file's actions have the shape {actions.shape}, the policy's {wanted.shape}"
    return f"the file's actions differ from the policy's by up to {np.abs(actions - wanted).max():.1e}"
