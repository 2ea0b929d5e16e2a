"""TensorBoard's log of a run that goes on: in the run's own folder, without what came after the checkpoint.

What is here: which folder that is, and writing on there. What is not: what is logged.
"""

from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import TensorBoardOutputFormat, configure


class ContinuedTensorBoard(TensorBoardOutputFormat):
    """Writes on in a folder, and lets TensorBoard forget what another process has written there too late.

    Args:
        folder: The folder.
        first_step: Everything from this step on is written anew.

    Raises:
        ImportError: If TensorBoard is not installed.
    """

    def __init__(self, folder: str, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(log_dir=folder, purge_step=first_step)
        self._is_closed = False


def log_folder(model: Any) -> str | None:
    """Name the folder that TensorBoard's log of a run is in.

    Args:
        model: The algorithm.

    Returns:
        The folder's name below `tensorboard_log`; None: there is no such log, or the user's own logger keeps it.
    """
    if model.tensorboard_log is None or model._custom_logger:
        return None
    return Path(model.logger.dir).name


def continue_log(model: Any, folder: str | None) -> bool:
    """Let a model log on in a run's folder, in place of the last run's, which SB3 would take.

    Args:
        model: The algorithm, loaded but not yet set up.
        folder: What `log_folder` has said of the run; a path to anywhere else is not followed.

    Returns:
        Whether it does; else SB3 may choose the logger.
    """
    if folder is None or model.tensorboard_log is None or model._custom_logger:
        return False
    if Path(folder).name != folder or folder == "..":
        return False
    path = str(Path(model.tensorboard_log, folder))
    logger = configure(path, ["stdout"] if model.verbose >= 1 else [])
    logger.output_formats.append(ContinuedTensorBoard(path, model.num_timesteps + 1))
    model._logger = logger
    return True
