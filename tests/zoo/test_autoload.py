"""Tests of `zoo/autoload.py` and `post_import.py`: each in a fresh process, since imports happen once."""

from pathlib import Path

import pytest

from tests.zoo.processes import run_python

FIRST_IMPORTS = [
    "rl_zoo3.train",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("rl_zoo3.enjoy", "rl_zoo3.record_video", "rl_zoo3.exp_manager", "rl_zoo3.utils")
    ),
    "gymnasium",
    "sb3_ppo_scratch.wrappers",
]

EVERYTHING_REGISTERED = """
import gymnasium, rl_zoo3.utils, rl_zoo3, rl_zoo3.exp_manager, rl_zoo3.hyperparams_opt as opt
from sb3_ppo_scratch import PPOScratch
assert rl_zoo3.utils.ALGOS["ppo_scratch"] is rl_zoo3.ALGOS["ppo_scratch"] is PPOScratch
assert "ppo_scratch" in opt.HYPERPARAMS_SAMPLER and "ppo_scratch" in opt.HYPERPARAMS_CONVERTER
manager = rl_zoo3.exp_manager.ExperimentManager
for function in (rl_zoo3.create_test_env, rl_zoo3.utils.create_test_env, manager.__init__):
    depth = 0
    while hasattr(function, "__wrapped__"):
        function, depth = function.__wrapped__, depth + 1
    assert 1 <= depth <= 3, depth  # registered, and no replacement twice
assert {"LunarLander-v2", "LunarLanderContinuous-v2"} <= set(gymnasium.registry)
print("registered")
"""


@pytest.mark.parametrize("torch", ["before", pytest.param("after", marks=pytest.mark.slow)])
@pytest.mark.parametrize("module", FIRST_IMPORTS)
def test_everything_is_registered_whatever_is_imported_first(module: str, torch: str) -> None:
    imports = ["import torch", f"import {module}"]
    code = "\n".join(imports if torch == "before" else imports[::-1]) + EVERYTHING_REGISTERED
    finished = run_python("-c", code)
    assert finished.stdout == "registered\n"
    assert "sb3-ppo-scratch" not in finished.stderr


def test_algorithm_is_there_for_who_imports_nothing_but_rl_zoo3s_table() -> None:
    finished = run_python("-c", "from rl_zoo3.utils import ALGOS; print('ppo_scratch' in ALGOS)")
    assert finished.stdout == "True\n"


def test_importing_torch_loads_neither_sb3_nor_rl_zoo3_nor_gymnasium() -> None:
    code = (
        "import torch, sys; wanted = {'stable_baselines3', 'rl_zoo3', 'gymnasium', 'sb3_ppo_scratch'}; "
        "print(sorted(wanted & set(sys.modules)))"
    )
    assert run_python("-c", code).stdout == "['sb3_ppo_scratch']\n"


def test_importing_the_package_loads_neither_torch_nor_anything_big() -> None:
    code = (
        "import sb3_ppo_scratch, sys; big = {'torch', 'stable_baselines3', 'rl_zoo3', 'gymnasium', 'numpy'}; "
        "print(sorted(big & set(sys.modules)), 'PPOScratch' in dir(sb3_ppo_scratch))"
    )
    assert run_python("-c", code).stdout == "[] True\n"


def test_hook_imports_only_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import sb3_ppo_scratch.zoo.autoload; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    output = run_python("-c", code).stdout
    assert output == "['sb3_ppo_scratch']\n"


def test_package_has_no_other_attributes() -> None:
    import sb3_ppo_scratch

    with pytest.raises(AttributeError, match="has no attribute 'PPO'"):
        _ = sb3_ppo_scratch.PPO


# -- switched off ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("imports", ["import torch, gymnasium", "import gymnasium, torch"])
def test_switched_off_hook_leaves_no_trace(imports: str) -> None:
    code = (
        f"{imports}\nimport sys; ours = [name for name in sys.modules if name.startswith('sb3_ppo_scratch')]; "
        "finders = [finder for finder in sys.meta_path if 'sb3_ppo_scratch' in type(finder).__module__]; "
        "print(ours, finders, 'LunarLander-v2' in gymnasium.registry)\n"
        "from rl_zoo3.train import ALGOS; print('ppo_scratch' in ALGOS)"
    )
    finished = run_python("-c", code, SB3_PPO_SCRATCH_AUTOLOAD="0")
    assert finished.stdout == "[] [] False\nFalse\n"


@pytest.mark.parametrize("switch", ["0", "1"])
@pytest.mark.parametrize("imports", ["", "import torch; ", "import torch, sb3_ppo_scratch.wrappers; "])
def test_id_with_package_prefix_works_whether_or_not_the_hook_has_run(imports: str, switch: str) -> None:
    code = (
        f"{imports}import gymnasium as gym, sys\n"
        "env = gym.make('sb3_ppo_scratch:LunarLander-v2'); print(env.spec.id, 'rl_zoo3' in sys.modules)"
    )
    assert run_python("-c", code, SB3_PPO_SCRATCH_AUTOLOAD=switch).stdout == "LunarLander-v2 False\n"


def test_package_imported_by_the_user_stays_when_the_switched_off_hook_runs() -> None:
    code = (
        "from sb3_ppo_scratch import wrappers, PPOScratch; import torch, sb3_ppo_scratch; "
        "print(sb3_ppo_scratch.wrappers is wrappers)"
    )
    assert run_python("-c", code, SB3_PPO_SCRATCH_AUTOLOAD="0").stdout == "True\n"


# -- failures ----------------------------------------------------------------------------------------------------------

BROKEN = "import sys; sys.modules['sb3_ppo_scratch.ppo_scratch'] = None\n"  # makes importing it raise


def test_failed_registration_says_why_in_one_line_and_again_when_used(tmp_path: Path) -> None:
    code = (
        BROKEN + "sys.argv = ['train', '--algo', 'ppo_scratch', '--env', 'CartPole-v1']\n"
        "import runpy; runpy.run_module('rl_zoo3.train', run_name='__main__')"
    )
    finished = run_python("-c", code, folder=tmp_path, check=False)
    reasons = [
        line for line in finished.stderr.splitlines() if line.startswith("sb3-ppo-scratch could not be registered")
    ]
    assert len(reasons) == 1
    assert "sb3_ppo_scratch.ppo_scratch" in reasons[0]
    assert finished.stderr.rstrip().splitlines()[-1].startswith("RuntimeError: sb3-ppo-scratch could not be registered")
    assert "invalid choice" not in finished.stderr


def test_failed_registration_leaves_other_algorithms_alone_and_refuses_to_load_ours(tmp_path: Path) -> None:
    code = (
        BROKEN + "from rl_zoo3.train import ALGOS\n"
        "print(ALGOS['ppo'].__name__)\n"
        "try: ALGOS['ppo_scratch'].load('x.zip', device='cpu')\n"
        "except RuntimeError as error: print(error)"
    )
    finished = run_python("-c", code, folder=tmp_path)
    lines = finished.stdout.splitlines()
    assert lines[0] == "PPO"
    assert lines[1].startswith("sb3-ppo-scratch could not be registered with rl_zoo3: ModuleNotFoundError")


def test_hook_never_raises() -> None:
    code = (
        "import sb3_ppo_scratch.zoo.autoload as autoload\n"
        "def broken(*arguments): raise ValueError('planned')\n"
        "autoload.call_after_import = broken; autoload.install(); print('alive')"
    )
    finished = run_python("-c", code)
    assert finished.stdout == "alive\n"
    assert "could not be installed: ValueError('planned')" in finished.stderr


def test_failed_registration_of_the_lander_does_not_break_importing_gymnasium() -> None:
    code = (
        "import sys; sys.modules['sb3_ppo_scratch.zoo.lunar_lander_ids'] = None\n"
        "import sb3_ppo_scratch, gymnasium; print(gymnasium.make('CartPole-v1').spec.id)"
    )
    finished = run_python("-c", code)
    assert finished.stdout == "CartPole-v1\n"
    assert finished.stderr.count("sb3-ppo-scratch: LunarLander v2 could not be registered: ModuleNotFoundError") == 1


def test_finder_of_the_old_kind_is_passed_over() -> None:
    code = (
        "import sys, torch\n"
        "class Old:\n    def find_module(self, name, path=None): return None\n"
        "sys.meta_path.insert(1, Old())\n"
        "import rl_zoo3.train; print('ppo_scratch' in rl_zoo3.ALGOS)"
    )
    assert run_python("-c", code).stdout == "True\n"


def test_failed_import_of_a_watched_module_stays_that_modules_error(tmp_path: Path) -> None:
    (tmp_path / "broken_module.py").write_text("raise OSError('its own')")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from sb3_ppo_scratch.post_import import call_after_import\n"
        "call_after_import('broken_module', lambda: print('called')); call_after_import('missing_module', print)\n"
        "for name in ('broken_module', 'missing_module'):\n"
        "    try: __import__(name)\n"
        "    except (OSError, ImportError) as error: print(repr(error))"
    )
    expected = "OSError('its own')\nModuleNotFoundError(\"No module named 'missing_module'\")\n"
    assert run_python("-c", code, str(tmp_path)).stdout == expected


@pytest.mark.parametrize(
    "again",
    [
        "import importlib.util; importlib.util.find_spec('rl_zoo3.exp_manager')",
        "import importlib, rl_zoo3.utils, rl_zoo3.exp_manager as manager; importlib.reload(manager)",
        "import rl_zoo3.train; [sys.modules.pop(name) for name in list(sys.modules) if name.startswith('rl_zoo3')]",
    ],
    ids=["looked_for_first", "reloaded", "imported_anew"],
)
def test_registration_outlives_what_is_done_to_modules(again: str) -> None:
    code = (
        f"import sys, torch\n{again}\n"
        "import rl_zoo3.exp_manager, rl_zoo3.utils\n"
        "manager = rl_zoo3.exp_manager.ExperimentManager\n"
        "print('ppo_scratch' in rl_zoo3.utils.ALGOS, hasattr(manager.__init__, '__wrapped__'))"
    )
    assert run_python("-c", code).stdout == "True True\n"


def test_warning_as_error_does_not_switch_the_plug_in_off() -> None:
    code = (
        "import sys, warnings\n"
        "from sb3_ppo_scratch.zoo import register; register.TRIED_VERSIONS = ()\n"
        "warnings.filterwarnings('error', message='sb3-ppo-scratch was tried')\n"
        "import rl_zoo3.train; print(rl_zoo3.ALGOS['ppo_scratch'].__name__)"
    )
    finished = run_python("-c", code)
    assert finished.stdout == "PPOScratch\n"
    assert finished.stderr.count("sb3-ppo-scratch: sb3-ppo-scratch was tried") >= 1


def test_callback_comes_once_at_the_end_of_an_import_that_is_under_way(tmp_path: Path) -> None:
    (tmp_path / "half_done.py").write_text(
        "from sb3_ppo_scratch.post_import import call_after_import, is_being_imported\n"
        "import sys\n"
        "print(is_being_imported('half_done'))\n"
        "call_after_import('half_done', lambda: print(sys.modules['half_done'].answer))\n"
        "answer = 42\n"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import half_done; import half_done; "
        "print(type(half_done.__spec__).__name__)"
    )
    assert run_python("-c", code, str(tmp_path)).stdout == "True\n42\nModuleSpec\n"
