"""Which device is the fastest for a policy.

What is here: the choice, and saying it. What is not: moving anything there (`scratch_algorithm.py`), and the
number of threads on the CPU (`torch_threads.py`).
"""

import torch as th

CONVOLUTIONS = (th.nn.Conv1d, th.nn.Conv2d, th.nn.Conv3d)


def has_convolutions(module: th.nn.Module) -> bool:
    """Tell whether a network is worth several threads or a GPU.

    Args:
        module: The network.

    Returns:
        Whether any part of it is a convolution.
    """
    return any(isinstance(part, CONVOLUTIONS) for part in module.modules())


def fastest_device(policy: th.nn.Module) -> th.device:
    """Choose a device; a GPU pays only for convolutions.

    Args:
        policy: The policy's network.

    Returns:
        A GPU for convolutions, if there is one, else the CPU.
    """
    return th.device("cuda" if has_convolutions(policy) and th.cuda.is_available() else "cpu")


def explain_device(policy: th.nn.Module) -> str:
    """Say why `fastest_device` chose as it did.

    Args:
        policy: The policy's network.

    Returns:
        Words to follow the device's name.
    """
    if has_convolutions(policy):
        return " (auto: a GPU if there is one, since the policy has convolutions)"
    return " (auto: the policy has no convolutions, and is faster there)"


def slow_device_warning(device: th.device, policy: th.nn.Module) -> str | None:
    """Find out whether a policy would be faster on the CPU.

    Args:
        device: Where it is.
        policy: The policy's network.

    Returns:
        The warning; None if the device fits.
    """
    if device.type == "cpu" or has_convolutions(policy):
        return None
    return (
        f"You are trying to run PPO on the GPU ({device}), but a policy without convolutions is faster "
        "on the CPU: pass device='auto' or device='cpu'. It will train, only slower."
    )
