"""The mistakes that the tests have to notice, each as a change of one module's source.

What is here: the table. What is not: planting them (`plugin.py`) and judging the outcome (`__main__.py`). A mistake
that could happen in this project's code and in a method inherited from stable_baselines3 stands here twice, and so does
one that both ways of updating could make.
"""

from collections.abc import Iterator
from dataclasses import dataclass

OURS = "sb3_ppo_scratch"
SB3 = "stable_baselines3.common"
ROLLOUT = f"{SB3}.on_policy_algorithm"

DUTIES = "tests/test_rollout_duties.py"
EQUALITY = "tests/test_equality_with_sb3.py::test_parameters_equal_stock_ppos_and_the_feature_made_a_difference"
"""To be followed by a case in brackets; all of them take a minute."""
ACTING = "tests/test_acting.py"
CHOICE = "tests/test_update_choice.py"
THREADS = "tests/test_torch_threads.py"
PPO_SCRATCH = "tests/test_ppo_scratch.py"
KL_CONTROL = "tests/test_kl_control.py"
ROLLOUT_ENDS = "tests/test_rollout_ends.py"
REINFORCE = "tests/test_reinforce.py"
DISTRIBUTIONS = "tests/test_distributions.py"
POLICIES = "tests/test_policies.py"
NETWORKS = "tests/test_networks.py"
LOSSES = "tests/updates/test_losses.py"
MLP = "tests/updates/test_mlp.py"
SNAPSHOT = "tests/updates/test_snapshot.py"
KERNELS = "tests/updates/test_kernels.py"
HEADS = "tests/updates/test_heads.py"
CLOSED_FORM = "tests/updates/test_closed_form.py"
FLAT_MEMORY = "tests/updates/test_flat_memory.py"
TRACE_LAYERS = "tests/updates/test_trace_layers.py"
MINIBATCHES = "tests/updates/test_minibatches.py"
NETWORK_INPUTS = "tests/updates/test_network_inputs.py"
EXACT_KL = "tests/updates/test_exact_kl.py"
AUTOGRAD = "tests/updates/test_autograd.py"
ADVANTAGES = "tests/test_advantages.py"
FAULTS = "tests/vec_env/test_faults.py"
CHECKED_RESULTS = "tests/vec_env/test_checked_results.py"
ENVIRONMENT_ERRORS = "tests/vec_env/test_environment_errors.py"
LAYER_ERRORS = "tests/checkpoints/test_layer_errors.py"
NORMALIZER = "tests/test_observation_normalizer.py"
ZIP = "tests/test_zip_compatibility.py"
REGISTER = "tests/zoo/test_register.py"
WRAPPER_LISTS = "tests/zoo/test_wrapper_lists.py"
SCALE_REWARD = "tests/wrappers/test_scale_reward.py"
BIN_ACTION = "tests/wrappers/test_bin_action.py"
GAUSSIAN = "tests/test_gaussian_distribution.py"
EVALUATION = "tests/benchmark/training/test_evaluation.py"
STATISTICS = "tests/benchmark/test_statistics.py"
COMPARISON_SUMMARY = "tests/benchmark/comparison/test_summary.py"
COMPARISON_COMPARE = "tests/benchmark/comparison/test_compare.py"
PERMUTATION = "tests/benchmark/test_permutation.py"
COMPARISON_WORDING = "tests/benchmark/comparison/test_wording.py"
COMPARISON_REPORT = "tests/benchmark/comparison/test_report.py"
EXECUTION = "tests/benchmark/training/test_execution.py"
RAY_CLUSTER = "tests/benchmark/training/test_ray_cluster.py"
RECORDS = "tests/benchmark/training/test_records.py"
LADDER_REPORT = "tests/benchmark/training/test_ladder_report.py"
SUMMARIES = "tests/benchmark/speed/test_summaries.py"
EXPORT = "tests/export/test_export.py"
FILM = "tests/film/test_film.py"
GRADIENTS = "tests/tutorial/test_gradients.py"
SEED_RUNS = "tests/tutorial/test_runs.py"
DRAWING = "tests/tutorial/test_drawing.py"
RESUME = "tests/checkpoints/test_resume.py"
ENVIRONMENT_STATES = "tests/checkpoints/test_environment_states.py"
CHECKPOINT_FILE = "tests/checkpoints/test_checkpoint_file.py"
SAFE_WRITING = "tests/test_safe_writing.py"
STATE_TREE = "tests/checkpoints/test_state_tree.py"
CALLBACK_STATES = "tests/checkpoints/test_callback_states.py"


@dataclass(frozen=True)
class Mutant:
    """One mistake: where it is planted, and which tests have to notice.

    Args:
        name: What `--only` is given.
        mistake: The mistake in words.
        module: The module that is changed.
        old: Source text that occurs there exactly once.
        new: What stands there instead.
        tests: Test files or node ids, quick ones first.
    """

    name: str
    mistake: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...] = (DUTIES,)

    def apply(self, source: str) -> str:
        """Plant the mistake.

        Args:
            source: The module's source.

        Returns:
            The changed source.

        Raises:
            ValueError: If the old text does not occur exactly once.
        """
        occurrences = source.count(self.old)
        if occurrences != 1:
            raise ValueError(f"{self.old!r} occurs {occurrences} times in {self.module}, not once")
        return source.replace(self.old, self.new)


def mutant_named(name: str) -> Mutant:
    """Look a mutant up.

    Args:
        name: Its name.

    Returns:
        The mutant.

    Raises:
        KeyError: If there is none of this name.
    """
    return {mutant.name: mutant for mutant in MUTANTS}[name]


def mistakes_in(module: str, tests: tuple[str, ...], *table: tuple[str, str, str, str]) -> Iterator[Mutant]:
    """List mistakes in one module that the same tests have to notice.

    Args:
        module: The module, without the package's name.
        tests: As for `Mutant`.
        *table: Name, mistake in words, old and new text.

    Yields:
        The mutants.
    """
    for name, mistake, old, new in table:
        yield Mutant(name, mistake, f"{OURS}.{module}", old, new, tests)


ROLLOUTS_AND_ADVANTAGES = [
    Mutant(
        "last-values-zero",
        "no bootstrap at the end of a rollout (our estimate)",
        f"{OURS}.advantages",
        "np.concatenate([values[1:], last_values[np.newaxis]])",
        "np.concatenate([values[1:], 0 * last_values[np.newaxis]])",
        (ADVANTAGES,),
    ),
    Mutant(
        "both-endings-are-a-truncation",
        "terminated and truncated at once taken for a truncation",
        f"{OURS}.vec_env.checked_results",
        '["TimeLimit.truncated"] = truncated and not terminated',
        '["TimeLimit.truncated"] = truncated',
    ),
    Mutant(
        "bootstrap-across-episodes",
        "value of the next episode's first observation counted in this one",
        f"{OURS}.advantages",
        "deltas = rewards + gamma * next_values * not_ended - values",
        "deltas = rewards + gamma * next_values - values",
        (ADVANTAGES,),
    ),
    Mutant(
        "advantages-across-episodes",
        "advantages flow back over the end of an episode",
        f"{OURS}.advantages",
        "gamma * gae_lambda * not_ended, 0.0",
        "gamma * gae_lambda * np.ones_like(not_ended), 0.0",
        (ADVANTAGES,),
    ),
    Mutant(
        "gae-lambda-ignored",
        "gae_lambda ignored",
        f"{OURS}.advantages",
        "gamma * gae_lambda * not_ended, 0.0",
        "gamma * not_ended, 0.0",
        (ADVANTAGES,),
    ),
    Mutant(
        "gamma-ignored",
        "gamma ignored",
        f"{OURS}.rollout_buffers",
        "gamma=self.gamma,",
        "gamma=1.0,",
    ),
    Mutant(
        "returns-without-values",
        "advantages taken for returns",
        f"{OURS}.advantages",
        "return Estimate(advantages, advantages + trajectories.values)",
        "return Estimate(advantages, advantages.copy())",
    ),
    Mutant(
        "episode-starts-shifted",
        "episode_starts read one step too early",
        f"{OURS}.advantages",
        "np.concatenate([episode_starts[1:], last_dones[np.newaxis]])",
        "np.concatenate([episode_starts[:-1], last_dones[np.newaxis]])",
        (ADVANTAGES,),
    ),
    Mutant(
        "unscaled-as-if-symmetric",
        "squashed actions unscaled as if the bounds were symmetric",
        f"{SB3}.policies",
        "return low + (0.5 * (scaled_action + 1.0) * (high - low))",
        "return scaled_action * high",
    ),
    Mutant(
        "update-after-stop",
        "an update from an unfinished rollout",
        f"{OURS}.resumable_run",
        "self.n_steps):\n                break",
        "self.n_steps):\n                self.rollout_buffer.full = True\n                self.train()\n"
        "                break",
    ),
    Mutant(
        "episode-statistics-lost",
        "episode returns not logged",
        f"{SB3}.base_class",
        "self.ep_info_buffer.extend([maybe_ep_info])",
        "pass",
    ),
    Mutant(
        "success-counted-at-every-step",
        "success counted at every step",
        f"{SB3}.base_class",
        "if maybe_is_success is not None and dones[idx]:",
        "if maybe_is_success is not None:",
    ),
    *mistakes_in(
        "rollout_collector",
        (DUTIES, f"{EQUALITY}[discrete-autograd]", ACTING),
        (
            "last-values-zero-in-the-loop",
            "no bootstrap at the end of a rollout (our loop)",
            "values if self._bootstraps else th.zeros_like(values)",
            "th.zeros_like(values)",
        ),
        (
            "last-dones-lost",
            "bootstrap although the rollout's last step ended its episode",
            "th.zeros_like(values), self._last_episode_starts)",
            "th.zeros_like(values), 0 * self._last_episode_starts)",
        ),
        (
            "truncation-not-bootstrapped",
            "no bootstrap at truncation",
            "rewards[cut] + self.gamma * actor",
            "rewards[cut] + 0 * actor",
        ),
        (
            "truncation-undiscounted",
            "bootstrap at truncation not discounted",
            "rewards[cut] + self.gamma * actor",
            "rewards[cut] + actor",
        ),
        (
            "truncation-with-reset-observation",
            "bootstrap at truncation with the next episode's first observation",
            "self._add_values_of_cut_episodes(actor, rewards, dones, infos)",
            'infos = [{**info, "terminal_observation": seen} for info, seen in zip(infos, new_obs)]\n'
            "            self._add_values_of_cut_episodes(actor, rewards, dones, infos)",
        ),
        (
            "truncation-in-the-wrong-environment",
            "bootstrap at truncation of the first episodes that ended, whichever were truncated",
            "rewards[cut] = rewards[cut]",
            "rewards[: len(cut)] = rewards[: len(cut)]",
        ),
        (
            "termination-bootstrapped",
            "bootstrap at termination too",
            'infos[index].get("TimeLimit.truncated", False) and',
            "True and",
        ),
        (
            "episode-starts-stored-early",
            "episode_starts stored one step too early",
            "rewards, self._last_episode_starts, values",
            "rewards, dones, values",
        ),
        (
            "episode-starts-stand-still",
            "episode_starts never updated",
            "self._last_obs, self._last_episode_starts = new_obs, dones",
            "self._last_obs = new_obs",
        ),
        (
            "next-observations-stored",
            "the observation after the action stored",
            "end.add(Step(self._last_obs,",
            "end.add(Step(new_obs,",
        ),
        (
            "actions-swapped",
            "actions swapped between environments",
            "= step(clipped_actions)",
            "= step(clipped_actions[::-1])",
        ),
        (
            "actions-not-clipped",
            "actions not clipped to the Box",
            "actions.clip(self.action_space.low, self.action_space.high)",
            "actions",
        ),
        (
            "clipped-actions-stored",
            "the clipped actions stored",
            "clipped_actions = self._within",
            "clipped_actions = actions = self._within",
        ),
        (
            "squashed-actions-not-unscaled",
            "squashed gSDE actions not unscaled",
            "return self.policy.unscale_action(actions)",
            "return actions",
        ),
        (
            "sde-sample-freq-ignored",
            "sde_sample_freq ignored",
            "n_steps % self.sde_sample_freq == 0:",
            "False:",
        ),
        (
            "sde-noise-never-drawn-anew",
            "gSDE noise not drawn anew at a rollout's beginning",
            "if self.use_sde:\n            self.policy.reset_noise(env.num_envs)\n        callback",
            "callback",
        ),
        (
            "acting-in-training-mode",
            "dropout left on while acting",
            "self.policy.set_training_mode(False)",
            "self.policy.set_training_mode(True)",
        ),
        (
            "timesteps-count-once",
            "num_timesteps counts vectorised steps",
            "self.num_timesteps += env.num_envs",
            "self.num_timesteps += 1",
        ),
        (
            "callback-cannot-stop",
            "a callback's False ignored",
            "goes_on = callback.on_step()",
            "goes_on = callback.on_step() or True",
        ),
        (
            "callback-sees-nothing",
            "callbacks do not find a step's results among the local variables",
            "callback.update_locals(locals())\n            goes_on",
            "goes_on",
        ),
        (
            "replaced-policy-not-noticed",
            "a rollout goes on with the policy that a callback has replaced",
            "if not actor.is_current(self.policy):",
            "if False:",
        ),
    ),
    *mistakes_in(
        "rollout_buffers",
        (DUTIES,),
        (
            "buffer-values-for-log-probs",
            "values stored as log-probabilities",
            "self.log_probs[self.pos] = log_prob.",
            "self.log_probs[self.pos] = value.",
        ),
    ),
    *mistakes_in(
        "acting",
        (ACTING,),
        (
            "lean-actions-transposed",
            "actions mixed between environments (without torch)",
            "np.ascontiguousarray(actions.T)",
            "np.ascontiguousarray(actions).reshape(actions.shape[::-1])",
        ),
        (
            "lean-values-of-the-actor",
            "the actor's first output taken for a value (without torch)",
            "[1].T.copy())",
            "[0][:1].T.copy())",
        ),
        (
            "lean-values-overwritten",
            "values that the next forward pass overwrites (without torch)",
            "values = values.T.copy()",
            "values = values.T",
        ),
        (
            "lean-nan-not-noticed",
            "NaN in the policy not noticed (without torch)",
            "_check_outputs(np.add.reduce(log_probs))",
            "pass",
        ),
    ),
]

UPDATES = [
    Mutant(
        "learning-rate-schedule-ignored",
        "learning-rate schedule ignored (update)",
        f"{OURS}.ppo_scratch",
        "self._update_learning_rate(self.policy.optimizer)\n",
        "pass\n",
    ),
    Mutant(
        "learning-rate-schedule-ignored-sb3",
        "learning-rate schedule ignored (inherited)",
        f"{SB3}.base_class",
        "update_learning_rate(optimizer, self.lr_schedule(self._current_progress_remaining))",
        "update_learning_rate(optimizer, self.lr_schedule(1.0))",
    ),
    Mutant(
        "clip-range-schedule-ignored",
        "clip-range schedules ignored",
        f"{OURS}.scratch_algorithm",
        "return float(value(self._current_progress_remaining) if callable(value) else value)",
        "return float(value(1.0) if callable(value) else value)",
    ),
    Mutant(
        "progress-stands-still",
        "remaining progress never updated (inherited)",
        f"{SB3}.base_class",
        "self._current_progress_remaining = 1.0 - float(num_timesteps) / float(total_timesteps)",
        "self._current_progress_remaining = 1.0",
    ),
    Mutant(
        "progress-not-clamped",
        "remaining progress below 0",
        f"{OURS}.scratch_algorithm",
        "self._current_progress_remaining = max(0.0, self._current_progress_remaining)",
        "pass",
        (f"{PPO_SCRATCH}::test_remaining_progress_never_falls_below_zero",),
    ),
    Mutant(
        "entropy-ignored",
        "entropy bonus ignored",
        f"{OURS}.updates.autograd",
        "elif settings.ent_coef != 0:",
        "elif False:",
    ),
    Mutant(
        "entropy-sign",
        "entropy bonus of the wrong sign",
        f"{OURS}.updates.autograd",
        "-settings.ent_coef / entropy.numel()",
        "settings.ent_coef / entropy.numel()",
    ),
    Mutant(
        "entropy-by-minibatch",
        "entropies of another shape than the minibatch's weighted as if they had it",
        f"{OURS}.updates.autograd",
        "/ entropy.numel()",
        "/ len(by_log_prob)",
        (f"{CHOICE}::test_unusual_networks_learn_what_stock_ppo_learns",),
    ),
    Mutant(
        "sampled-entropy-sign",
        "entropy bonus of the wrong sign where it is estimated (squashed gSDE)",
        f"{OURS}.updates.autograd",
        "by_log_prob += settings.ent_coef",
        "by_log_prob -= settings.ent_coef",
        (f"{EQUALITY}[squashed_sde-autograd]",),
    ),
    Mutant(
        "value-clipping-ignored",
        "value clipping ignored",
        f"{OURS}.updates.losses",
        "if clip_range_vf is None:\n        return (values",
        "if True:\n        return (values",
    ),
    Mutant(
        "value-weight-ignored",
        "vf_coef ignored",
        f"{OURS}.updates.autograd",
        "losses.value_loss_derivative(*errors) * settings.vf_coef",
        "losses.value_loss_derivative(*errors)",
    ),
    Mutant(
        "target-kl-ignored",
        "target_kl ignored",
        f"{OURS}.kl_control",
        "return kl > TOLERANCE * self.target_kl",
        "return False",
    ),
    Mutant(
        "target-kl-without-margin",
        "target_kl without its factor 1.5",
        f"{OURS}.kl_control",
        "return kl > TOLERANCE * self.target_kl",
        "return kl > self.target_kl",
    ),
    Mutant(
        "target-kl-stops-an-epoch-only",
        "target_kl ends only the epoch",
        f"{OURS}.ppo_scratch",
        "if not is_complete:",
        "if False:",
    ),
    Mutant(
        "kl-estimator",
        "KL estimated by the mean log ratio, which may be negative",
        f"{OURS}.updates.losses",
        "return (log_ratio.exp() - 1 - log_ratio).mean()",
        "return -log_ratio.mean()",
        (LOSSES,),
    ),
    Mutant(
        "gradient-clipping-ignored",
        "gradient clipping ignored",
        f"{OURS}.updates.autograd",
        "return th.nn.utils.clip_grad_norm_(self.policy.parameters(), settings.max_grad_norm)",
        "return th.zeros(())",
    ),
    Mutant(
        "gradients-clipped-one-by-one",
        "gradients clipped element by element",
        f"{OURS}.updates.autograd",
        "th.nn.utils.clip_grad_norm_(self.policy.parameters(), settings.max_grad_norm)",
        "th.nn.utils.clip_grad_value_(self.policy.parameters(), settings.max_grad_norm)",
    ),
    Mutant(
        "gradients-never-zeroed",
        "gradients never zeroed",
        f"{OURS}.updates.autograd",
        "self.policy.optimizer.zero_grad()",
        "pass",
    ),
    Mutant(
        "discrete-actions-not-flattened",
        "discrete actions not flattened (silent N x N log-probabilities)",
        f"{OURS}.updates.autograd",
        "return actions.long().flatten() if",
        "return actions.long() if",
    ),
    Mutant(
        "advantages-not-normalised",
        "advantages not normalised",
        f"{OURS}.updates.autograd",
        "if settings.normalize_advantage else",
        "if False else",
    ),
    Mutant(
        "advantages-biased-deviation",
        "advantages normalised by the biased deviation",
        f"{OURS}.updates.losses",
        "advantages.std() + ADVANTAGE_EPSILON",
        "advantages.std(correction=0) + ADVANTAGE_EPSILON",
    ),
    Mutant(
        "ratio-inverted",
        "ratio inverted",
        f"{OURS}.updates.autograd",
        "log_ratio = log_prob - batch.old_log_prob",
        "log_ratio = batch.old_log_prob - log_prob",
    ),
    Mutant(
        "larger-surrogate",
        "the larger of the clipped and the unclipped term",
        f"{OURS}.updates.losses",
        "(unclipped <= clipped)",
        "(unclipped >= clipped)",
    ),
    Mutant(
        "ratio-clipped-above-only",
        "ratio clipped from above only",
        f"{OURS}.updates.losses",
        "clipped = ratio.clamp(1 - clip_range, 1 + clip_range) * advantages",
        "clipped = ratio.clamp(max=1 + clip_range) * advantages",
    ),
    Mutant(
        "learning-in-evaluation-mode",
        "dropout off while learning",
        f"{OURS}.ppo_scratch",
        "self.policy.set_training_mode(True)",
        "self.policy.set_training_mode(False)",
    ),
    *mistakes_in(
        "updates.minibatches",
        (MINIBATCHES, AUTOGRAD),
        (
            "not-shuffled",
            "minibatches in the same order at every epoch",
            "return np.random.permutation(rollout_buffer.buffer_size * rollout_buffer.n_envs)",
            "return np.arange(rollout_buffer.buffer_size * rollout_buffer.n_envs)",
        ),
        (
            "shuffled-from-another-stream",
            "minibatches drawn from another random stream",
            "return np.random.permutation(",
            "return np.random.default_rng(0).permutation(",
        ),
        (
            "flattened-in-the-wrong-order",
            "a rollout flattened step by step, not environment by environment",
            "flat = rollout_buffer.swap_and_flatten(array)",
            "flat = array.reshape(-1, *array.shape[2:])",
        ),
        (
            "dict-flattened-in-the-wrong-order",
            "Dict observations flattened step by step",
            "{key: rollout_buffer.swap_and_flatten(part) for",
            "{key: part.reshape(-1, *part.shape[2:]) for",
        ),
        (
            "own-get-of-an-object-not-noticed",
            "a `get` replaced on the buffer itself not noticed",
            " and name not in vars(rollout_buffer)",
            "",
        ),
        (
            "own-get-of-a-class-not-noticed",
            "a buffer class's own `get` not noticed",
            "getattr(type(rollout_buffer), name) is getattr(base, name) and",
            "True and",
        ),
    ),
    *mistakes_in(
        "updates.autograd",
        (AUTOGRAD, MINIBATCHES, DUTIES),
        (
            "flat-gradient-clipping-ignored",
            "gradient clipping ignored (flat memory)",
            "return self._memory.parameters.clip_gradient(settings.max_grad_norm)",
            "return th.zeros(())",
        ),
        (
            "samples-mixed",
            "observations of other transitions (autograd)",
            "return RolloutBufferSamples(observations.index_select(0, rows)",
            "return RolloutBufferSamples(observations.index_select(0, rows.flip(0))",
        ),
        (
            "dict-samples-mixed",
            "Dict observations of other transitions (autograd)",
            "{name: part.index_select(0, rows) for",
            "{name: part.index_select(0, rows.flip(0)) for",
        ),
        (
            "short-samples-dropped",
            "the short last minibatch dropped (autograd)",
            "for start in range(0, len(rows), batch_size):",
            "for start in range(0, len(rows) - batch_size + 1, batch_size):",
        ),
        (
            "own-minibatches-passed-by",
            "a buffer's own minibatches passed by",
            "if not is_passed_over_as_sb3_does(rollout_buffer):",
            "if False:",
        ),
        (
            "discrete-actions-integers",
            "actions of another dtype than SB3's minibatches have",
            "np.asarray(buffer.actions, np.float32)",
            "buffer.actions",
        ),
    ),
    *mistakes_in(
        "updates.closed_form",
        (CLOSED_FORM,),
        (
            "surrogate-sign",
            "surrogate's gradient of the wrong sign",
            "d_log_prob *= -1 / batch",
            "d_log_prob *= 1 / batch",
        ),
        (
            "surrogate-undivided",
            "surrogate's gradient not divided by the batch",
            "d_log_prob *= -1 / batch",
            "d_log_prob *= -1",
        ),
        (
            "clip-mask-inverted",
            "gradient where the surrogate is clipped",
            "(self._unclipped <= self._clipped)",
            "(self._unclipped >= self._clipped)",
        ),
        (
            "clip-mask-strict",
            "no gradient inside the clip range",
            "(self._unclipped <= self._clipped)",
            "(self._unclipped < self._clipped)",
        ),
        (
            "clip-mask-missing",
            "clipping without effect on the gradient",
            "self._unclipped * (self._unclipped <= self._clipped)",
            "self._unclipped * 1",
        ),
        (
            "clip-bounds-swapped",
            "clip bounds swapped",
            "np.minimum(np.maximum(ratio, 1 - settings.clip_range), 1 + settings.clip_range)",
            "np.minimum(np.maximum(ratio, 1 + settings.clip_range), 1 - settings.clip_range)",
        ),
        (
            "closed-form-ratio-clipped-above-only",
            "ratio clipped from above only (closed form)",
            "np.minimum(np.maximum(ratio, 1 - settings.clip_range), 1 + settings.clip_range)",
            "np.minimum(ratio, 1 + settings.clip_range)",
        ),
        (
            "closed-form-ratio-inverted",
            "ratio inverted (closed form)",
            "self.head.log_prob(columns.actions) - columns.old_log_prob",
            "columns.old_log_prob - self.head.log_prob(columns.actions)",
        ),
        (
            "closed-form-entropy-sign",
            "entropy bonus of the wrong sign (closed form)",
            "d_log_prob, -settings.ent_coef, actor",
            "d_log_prob, settings.ent_coef, actor",
        ),
        (
            "closed-form-entropy-ignored",
            "entropy bonus ignored (closed form)",
            "d_log_prob, -settings.ent_coef, actor",
            "d_log_prob, 0.0, actor",
        ),
        (
            "logged-entropy-sign",
            "entropy of the wrong sign in the logged loss",
            "- settings.ent_coef * mean_entropy",
            "+ settings.ent_coef * mean_entropy",
        ),
        (
            "value-mask-missing",
            "value clipping without effect on the gradient",
            "if self._value_moves is not None:",
            "if False:",
        ),
        (
            "closed-form-value-clipping-ignored",
            "value clipping ignored (closed form)",
            "if clip_range_vf is None:",
            "if True:",
        ),
        (
            "value-factor-two-missing",
            "value gradient without its factor 2",
            "2 * settings.vf_coef / batch",
            "settings.vf_coef / batch",
        ),
        (
            "value-gradient-undivided",
            "value gradient not divided by the batch",
            "2 * settings.vf_coef / batch",
            "2 * settings.vf_coef",
        ),
        (
            "closed-form-value-weight-ignored",
            "vf_coef ignored (closed form)",
            "2 * settings.vf_coef / batch",
            "2 / batch",
        ),
        (
            "closed-form-advantages-not-normalised",
            "advantages not normalised (closed form)",
            "if settings.normalize_advantage:",
            "if False:",
        ),
        (
            "closed-form-biased-deviation",
            "advantages normalised by the biased deviation (closed form)",
            "/ (len(advantages) - 1))",
            "/ len(advantages))",
        ),
        ("single-advantage-normalised", "a single advantage normalised", "if len(advantages) <= 1:", "if False:"),
        (
            "closed-form-kl-estimator",
            "KL estimated by the mean log ratio (closed form)",
            "_mean(ratio - 1 - log_ratio)",
            "-_mean(log_ratio)",
        ),
        (
            "closed-form-clip-fraction",
            "share of ratios that are not clipped",
            "ratio != clipped_ratio",
            "ratio == clipped_ratio",
        ),
    ),
    *mistakes_in(
        "updates.closed_form",
        (CLOSED_FORM, MINIBATCHES, CHOICE),
        (
            "closed-form-gradient-clipping-ignored",
            "gradient clipping ignored (closed form)",
            "if norm + NORM_EPSILON >= settings.max_grad_norm:",
            "if False:",
        ),
        (
            "closed-form-gradient-always-scaled",
            "short gradients lengthened to max_grad_norm (closed form)",
            "if norm + NORM_EPSILON >= settings.max_grad_norm:",
            "if True:",
        ),
        (
            "closed-form-gradients-not-attached",
            "parameters' `grad` does not show the closed form's gradient",
            "self.memory.parameters.attach_gradients()",
            "pass",
        ),
        (
            "whole-rollout-in-place-of-minibatches",
            "one step for a rollout of two minibatches (closed form)",
            "if len(rows) <= batch_size:",
            "if len(rows) <= 2 * batch_size:",
        ),
        (
            "columns-mixed",
            "actions and advantages of other transitions (closed form)",
            "self._others.take(picked, axis=1)",
            "self._others.take(picked[::-1], axis=1)",
        ),
        (
            "short-columns-dropped",
            "the short last minibatch dropped (closed form)",
            "if n_whole * batch_size < n_columns:",
            "if False:",
        ),
    ),
    *mistakes_in(
        "updates.heads",
        (HEADS,),
        (
            "onehot-minus-p-reversed",
            "derivative of a categorical log-probability of the wrong sign",
            "np.subtract(self._chosen, self._p, out=gradient)",
            "np.subtract(self._p, self._chosen, out=gradient)",
        ),
        (
            "categorical-entropy-gradient-missing",
            "gradient of a categorical's entropy missing",
            "if d_entropy != 0:\n            weighted",
            "if False:\n            weighted",
        ),
        (
            "categorical-entropy-gradient-without-entropy",
            "gradient of a categorical's entropy without its term p H",
            "weighted[span] -= self._p[span] * np.add.reduce(weighted[span], axis=0)",
            "pass",
        ),
        (
            "categorical-entropies-mixed",
            "each categorical's entropy gradient with the entropy of all",
            "np.add.reduce(weighted[span], axis=0)",
            "np.add.reduce(weighted, axis=0)",
        ),
        (
            "categorical-entropy-gradient-undivided",
            "gradient of a categorical's entropy not divided by the batch",
            "weighted *= d_entropy / len(d_log_prob)",
            "weighted *= d_entropy",
        ),
        (
            "categorical-entropy-sign",
            "gradient of a categorical's entropy of the wrong sign",
            "gradient -= weighted",
            "gradient += weighted",
        ),
        (
            "categorical-entropy-undivided",
            "a categorical's mean entropy not divided by the batch",
            "-float(np.vdot(self._p, self._log_p)) / len(self._p[0])",
            "-float(np.vdot(self._p, self._log_p))",
        ),
        (
            "logits-overflow",
            "large logits overflow",
            "logits -= np.maximum.reduce(logits, axis=0)  # so that nothing overflows",
            "pass",
        ),
        (
            "categories-drawn-backwards",
            "the least likely category drawn",
            "values).argmax(axis=1)",
            "values).argmin(axis=1)",
        ),
        (
            "bernoulli-reversed",
            "derivative of a Bernoulli log-probability of the wrong sign",
            "np.subtract(self._actions, self._p, out=gradient)",
            "np.subtract(self._p, self._actions, out=gradient)",
        ),
        (
            "bernoulli-entropy",
            "a Bernoulli's entropy of the wrong sign in one term",
            "np.sum(self._softplus) - np.vdot(self._p, self._logits)",
            "np.sum(self._softplus) + np.vdot(self._p, self._logits)",
        ),
        (
            "bernoulli-entropy-gradient-missing",
            "gradient of a Bernoulli's entropy missing",
            "if d_entropy != 0:\n            gradient",
            "if False:\n            gradient",
        ),
        (
            "bernoulli-entropy-gradient-without-logits",
            "gradient of a Bernoulli's entropy without its factor z",
            "* self._logits * self._p * (1 - self._p)",
            "* self._p * (1 - self._p)",
        ),
        (
            "bernoulli-overflow",
            "large Bernoulli logits overflow",
            "np.logaddexp(0, outputs)",
            "np.log(1 + np.exp(outputs))",
        ),
        (
            "bernoulli-noise-transposed",
            "random numbers of other environments (Bernoulli)",
            "th.bernoulli(probabilities).numpy().T",
            "th.bernoulli(probabilities.T).numpy()",
        ),
        (
            "log-std-gradient-without-one",
            "gradient of a Gaussian's log std without its -1",
            "self._squares -= 1",
            "pass",
        ),
        (
            "gaussian-entropy-gradient-missing",
            "gradient of a Gaussian's entropy missing",
            "self._log_std_gradient += d_entropy",
            "pass",
        ),
        (
            "gaussian-precision",
            "deviation taken for variance",
            "self._precision = np.exp(-2 *",
            "self._precision = np.exp(-1 *",
        ),
        ("gaussian-constant", "log-probability without its constant", " + 0.5 * LOG_2_PI * len(outputs)", ""),
        (
            "gaussian-means-reversed",
            "derivative by a Gaussian's means of the wrong sign",
            "self._deviations = actions - self._means",
            "self._deviations = self._means - actions",
        ),
        (
            "gaussian-entropy",
            "a Gaussian's entropy without its constant",
            "float(self._constant + 0.5 * len(self._means))",
            "float(self._constant)",
        ),
        (
            "gaussian-noise-transposed",
            "random numbers of other environments (Gaussian)",
            "np.exp(self._log_std) * values.T",
            "np.exp(self._log_std) * values.reshape(self._means.shape)",
        ),
    ),
    *mistakes_in(
        "updates.kernels",
        (KERNELS,),
        ("tanh-derivative", "tanh's derivative taken for 1 - y", "    values *= values\n", ""),
        (
            "tanh-derivative-in-torch",
            "tanh's derivative by the wrong array (torch)",
            "tanh_backward.grad_input, derivatives, outputs,",
            "tanh_backward.grad_input, outputs, derivatives,",
        ),
        (
            "relu-derivative",
            "ReLU's derivative 0 below 1",
            "derivatives, outputs, 0, grad",
            "derivatives, outputs, 1, grad",
        ),
        (
            "relu-everywhere",
            "ReLU's derivative taken for 1",
            "derivatives, outputs, 0, grad",
            "derivatives, outputs, -1, grad",
        ),
        ("relu-left-out", "negative values kept by ReLU", "th.from_numpy(values).relu_", "th.from_numpy(values).abs"),
        (
            "bias-subtracted",
            "the bias subtracted (torch)",
            "th.from_numpy(outputs).add_,",
            "th.from_numpy(outputs).sub_,",
        ),
        ("product-never-large", "large products left to NumPy", "< LARGE_PRODUCT", "< 100 * LARGE_PRODUCT"),
    ),
    *mistakes_in(
        "updates.mlp",
        (MLP,),
        (
            "activation-after-the-last-layer",
            "activation after a last layer whose neighbour has one",
            "if len(kinds) == 1:",
            "if True:",
        ),
        (
            "bias-gradient-missing",
            "biases' gradient missing",
            "kernels.matrix_product(self.gradient, np.ones((batch, 1), dtype), level.bias_gradient),",
            "lambda: level.bias_gradient.fill(0),",
        ),
        (
            "bias-gradient-of-one-sample",
            "biases' gradient of the first transition only",
            "kernels.matrix_product(self.gradient, np.ones((batch, 1), dtype), level.bias_gradient),",
            "lambda: np.copyto(level.bias_gradient, self.gradient[:, :1]),",
        ),
        (
            "weight-not-transposed",
            "weights not transposed on the way back",
            "kernels.matrix_product(weight.T, gradient, input_gradient[rows])",
            "kernels.matrix_product(weight.reshape(weight.shape[::-1]), gradient, input_gradient[rows])",
        ),
        (
            "shared-layers-not-summed",
            "shared layers get the critic's gradient only",
            "if all(inputs == first_inputs",
            "if depth == 0 and all(inputs == first_inputs",
        ),
        (
            "groups-not-aligned",
            "odd sizes: the networks read their weights where they do not lie",
            "start = kernels.aligned(span.stop)",
            "start = span.stop",
        ),
        (
            "biases-lie-before-weights",
            "weights and biases change places in memory",
            "            groups.append([layer.bias for layer in layers])",
            "            groups.insert(0, [layer.bias for layer in layers])",
        ),
    ),
    *mistakes_in(
        "updates.flat_memory",
        (FLAT_MEMORY,),
        ("moments-not-taken-over", "Adam's moments lost when memory becomes flat", "place.copy_(state[name])", "pass"),
        (
            "steps-not-taken-over",
            "Adam's step count begins anew when memory becomes flat",
            "self._count = self._steps[0].clone()",
            "self._count = th.zeros(())",
        ),
        ("steps-not-written-back", "Adam's step count not written back", "self._steps.copy_(self._count)", "pass"),
        (
            "parameters-in-wrong-order",
            "parameters copied upside down",
            "place.copy_(parameter.detach())",
            "place.copy_(parameter.detach().flip(0))",
        ),
        (
            "moved-parameters-not-noticed",
            "parameters that have left the memory not noticed",
            "(self.gradient, *self.parameters))] == self._addresses",
            "(self.gradient, *self.parameters))] is not None",
        ),
        (
            "moved-moments-not-noticed",
            "a replaced optimiser state not noticed",
            "all(optimizer.state[parameter].get(name) is place for name, place in places.items())",
            "True",
        ),
        (
            "foreign-steps-not-noticed",
            "steps of torch's own optimiser not counted",
            "and bool((self._steps_array == self._count_array).all())",
            "and True",
        ),
        (
            "short-gradients-lengthened",
            "short gradients lengthened to max_grad_norm (flat memory)",
            ".clamp(max=1.0)",
            "",
        ),
        (
            "weight-decay-ignored",
            "weight decay ignored",
            'options |= {"beta1": beta1, "beta2": beta2}',
            'options |= {"beta1": beta1, "beta2": beta2, "weight_decay": 0.0}',
        ),
        (
            "betas-swapped",
            "Adam's betas swapped",
            'options |= {"beta1": beta1, "beta2": beta2}',
            'options |= {"beta1": beta2, "beta2": beta1}',
        ),
        (
            "decoupled-decay-ignored",
            "AdamW taken for Adam",
            'decoupled = group["decoupled_weight_decay"]',
            "decoupled = False",
        ),
        (
            "decoupled-decay-ignored-by-the-kernel",
            "AdamW taken for Adam (fused)",
            'FUSED_KERNELS[group["decoupled_weight_decay"]]',
            "FUSED_KERNELS[0]",
        ),
        ("fused-steps-not-counted", "Adam's bias correction stands still (fused)", "self._count_array += 1", "pass"),
        (
            "frozen-parameters-not-noticed",
            "frozen parameters not noticed",
            "if not all(parameter.requires_grad for parameter in parameters):",
            "if False:",
        ),
        (
            "several-groups-not-noticed",
            "several parameter groups not noticed",
            "if len(optimizer.param_groups) != 1:",
            "if False:",
        ),
        (
            "other-optimiser-not-noticed",
            "other optimisers than Adam not noticed",
            "if type(optimizer) not in (th.optim.Adam, th.optim.AdamW):",
            "if False:",
        ),
        (
            "optimiser-hooks-not-noticed",
            "hooks before the optimiser's steps not noticed",
            'hooks or "step" in vars(optimizer) or',
            '"step" in vars(optimizer) or',
        ),
        (
            "partial-optimiser-not-noticed",
            "an optimiser for some of the parameters not noticed",
            'if {*map(id, group["params"])} != {*map(id, parameters)}:',
            "if False:",
        ),
        (
            "unequal-steps-not-noticed",
            "parameters moved unequally often not noticed",
            "if len(steps) > 1:",
            "if False:",
        ),
    ),
    *mistakes_in(
        "updates.flat_memory",
        (AUTOGRAD, CHOICE),
        (
            "missing-gradient-overlooked",
            "parameters without a gradient taken for such with one (flat memory)",
            "if len(gradients) < len(self.parameters):\n            return False",
            "if len(gradients) < len(self.parameters):\n            return True",
        ),
        (
            "clipped-gradients-not-shown",
            "parameters keep unclipped gradients (flat memory)",
            "        self.attach_gradients()\n        return True",
            "        return True",
        ),
    ),
    *mistakes_in(
        "updates.trace_layers",
        (CHOICE,),
        (
            "layer-read-piece-by-piece",
            "a layer that is applied to parts of an observation taken for one of the whole",
            "if [layer.n_inputs for layer in network] !=",
            "if False and [layer.n_inputs for layer in network] !=",
        ),
        (
            "layer-at-several-places",
            "a layer that is used twice taken for two",
            "if len(set(used)) != len(used):",
            "if False:",
        ),
    ),
    *mistakes_in(
        "updates.trace_layers",
        (TRACE_LAYERS,),
        (
            "foreign-operation-passed-over",
            "operations that an MLP does not have passed over",
            "elif kind is not th.nn.Identity:",
            "elif False:",
        ),
        (
            "flattening-of-the-batch",
            "flattening of the batch passed over",
            "if _flattened_dimensions(node, module) != (1, -1):",
            "if False:",
        ),
        (
            "second-activation-replaces-the-first",
            "a second activation replaces the first",
            "elif not layers or layers[-1].activation is not None:",
            "elif not layers:",
        ),
        (
            "features-extractor-taken-for-shared",
            "the critic's own features extractor passed by",
            "if policy.share_features_extractor:",
            "if True:",
        ),
        (
            "normaliser-of-one-network",
            "a normaliser that only one network has taken for both's",
            "if any(places != [(0, normalizer)]",
            "if False and any(places != [(0, normalizer)]",
        ),
    ),
    *mistakes_in(
        "updates.network_inputs",
        (NETWORK_INPUTS,),
        (
            "lean-observations-not-normalised",
            "observations not normalised (closed form)",
            "(preprocessed if self._normalizer is None else self._normalizer(preprocessed))",
            "preprocessed",
        ),
        (
            "lean-images-not-scaled",
            "images not scaled (closed form)",
            "self._space, normalize_images=self._normalize_images)",
            "self._space, normalize_images=False)",
        ),
        (
            "lean-observations-not-encoded",
            "Discrete observations not one-hot (closed form)",
            "isinstance(space, spaces.Box) and not scaled",
            "not scaled",
        ),
    ),
    *mistakes_in(
        "updates.closed_form_of_policy",
        (CHOICE,),
        (
            "parameter-hook-not-noticed",
            "a hook on a parameter not noticed",
            "if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:",
            "if False:",
        ),
        (
            "further-parameter-not-noticed",
            "a parameter outside actor and critic not noticed",
            "if sum(map(len, groups)) != len(parameters):",
            "if False:",
        ),
        (
            "other-dtype-not-noticed",
            "float64 parameters not noticed",
            "if parameter.dtype != th.float32 or not parameter.is_cpu:",
            "if False:",
        ),
        (
            "activation-before-logits-not-noticed",
            "an activation after the actor's last layer not noticed",
            "elif last.activation is not None and",
            "elif False and",
        ),
        (
            "shared-deviation-not-noticed",
            "a log_std that is broadcast not noticed",
            "if log_std.shape != (last.n_outputs,):",
            "if False:",
        ),
    ),
    *mistakes_in(
        "updates.snapshot",
        (SNAPSHOT,),
        (
            "replaced-parts-not-noticed",
            "hooks, layers and attributes that were replaced not noticed",
            "and all(map(operator.is_, objects, self._objects))",
            "and True",
        ),
        (
            "added-parts-not-noticed",
            "hooks, layers and attributes that were added not noticed",
            "len(objects) == len(self._objects)",
            "True",
        ),
        (
            "changed-options-not-noticed",
            "the optimiser's options not looked at",
            "self._look_at_values() == self._values",
            "True",
        ),
        (
            "entries-not-looked-at",
            "what modules keep in dictionaries not looked at",
            "(*attributes, *entries, *states)",
            "attributes",
        ),
    ),
    *mistakes_in(
        "update_choice",
        (CHOICE,),
        ("autograd-refused", "update='autograd' ignored", 'if name != "autograd":', "if True:"),
        (
            "uncovered-closed-form-accepted",
            "update='closed_form' silently replaced by autograd",
            'if name == "closed_form":\n                    raise',
            "if False:\n                    raise",
        ),
        (
            "foreign-buffer-not-noticed",
            "a buffer's own way of yielding minibatches not noticed",
            "if not is_passed_over_as_sb3_does(rollout_buffer):",
            "if False:",
        ),
        (
            "overridden-method-not-noticed",
            "a policy's own `evaluate_actions` not noticed",
            '"_call_impl", "evaluate_actions",',
            '"_call_impl",',
        ),
        (
            "replaced-method-not-noticed",
            "a method replaced on the policy itself not noticed",
            " + [name for name in METHODS if name in vars(policy)]",
            "",
        ),
        (
            "distribution-not-noticed",
            "gSDE not noticed",
            "if type(policy.action_dist) not in DISTRIBUTIONS:",
            "if False:",
        ),
        (
            "pre-hook-not-noticed",
            "a forward pre-hook not noticed",
            "if foreign or module._forward_hooks",
            "if module._forward_hooks",
        ),
        (
            "forward-hook-not-noticed",
            "a forward hook not noticed",
            "if foreign or module._forward_hooks or",
            "if foreign or",
        ),
        (
            "backward-hook-not-noticed",
            "a backward hook not noticed",
            "or module._backward_hooks or module._backward_pre_hooks:",
            ":",
        ),
        (
            "replaced-forward-not-noticed",
            "a module's replaced `forward` not noticed",
            ' or "forward" in vars(module):',
            ":",
        ),
        (
            "compiled-module-not-noticed",
            "a compiled module not noticed",
            "module._compiled_call_impl is not None or",
            "",
        ),
        (
            "other-preprocessing-not-noticed",
            "observations preprocessed as before a callback has changed that",
            "id(policy.observation_space), policy.normalize_images, networks)",
            "id(policy.observation_space), networks)",
        ),
        (
            "own-code-traced-once",
            "a module of the user's traced only once",
            "all(type(module).__module__.startswith(KNOWN_CODE) for module in modules)",
            "True",
        ),
        (
            "stale-objective",
            "the objective stays on memory that the parameters have left",
            "built_for = (id(memory.parameters), ",
            "built_for = (",
        ),
        (
            "stale-optimiser",
            "steps go on with an optimiser state that has been replaced",
            "before.memory = memory",
            "pass",
        ),
    ),
    Mutant(
        "last-minibatch-dropped",
        "the short last minibatch dropped (loop)",
        f"{OURS}.ppo_scratch",
        "for index, minibatch in enumerate(rollout.minibatches(self._minibatch_size)):\n            watch",
        "for index, minibatch in enumerate(rollout.minibatches(self._minibatch_size)):\n"
        "            if len(minibatch.returns) < self.batch_size:\n                continue\n            watch",
    ),
]

OWN_FEATURES_AND_FILES = [
    Mutant(
        "optimiser-not-saved",
        "optimiser state not saved",
        ROLLOUT,
        'state_dicts = ["policy", "policy.optimizer"]',
        'state_dicts = ["policy"]',
    ),
    Mutant(
        "file-names-our-buffer",
        "saved file names this project's buffer",
        f"{OURS}.scratch_algorithm",
        "self.rollout_buffer_class, self.policy_kwargs = chosen_class, chosen_kwargs\n",
        "self.policy_kwargs = chosen_kwargs\n",
        (f"{ZIP}::test_file_names_no_class_of_this_project",),
    ),
    Mutant(
        "normaliser-not-saved",
        "observation normaliser not saved",
        f"{OURS}.observation_normalizer",
        'self.register_buffer("mean", th.zeros(shape, dtype=th.float64))',
        'self.register_buffer("mean", th.zeros(shape, dtype=th.float64), persistent=False)',
        (f"{NORMALIZER}::test_a_fresh_process_acts_bit_identically_from_the_zip",),
    ),
    Mutant(
        "normaliser-learns-while-acting",
        "observation normaliser updated at every forward pass",
        f"{OURS}.observation_normalizer",
        "        return (self(inputs[0]),)",
        "        self.absorb(inputs[0])\n        return (self(inputs[0]),)",
        (f"{NORMALIZER}::test_statistics_stand_still_during_a_rollout",),
    ),
    Mutant(
        "reward-divided",
        "reward divided by the scale",
        f"{OURS}.wrappers.scale_reward",
        "float(reward) * self.scale",
        "float(reward) / self.scale",
        (SCALE_REWARD,),
    ),
    Mutant(
        "raw-reward-missing",
        "raw reward missing in info",
        f"{OURS}.wrappers.scale_reward",
        "info = {**info, RAW_REWARD_KEY: reward}",
        "info = {**info}",
        (SCALE_REWARD,),
    ),
    Mutant(
        "bins-clamped",
        "impossible bins clamped instead of refused",
        f"{OURS}.wrappers.bin_action",
        "if (indices < 0).any() or (indices >= self._limit).any():",
        "indices = np.clip(indices, 0, self._limit - 1)\n        if False:",
        (BIN_ACTION,),
    ),
    Mutant(
        "negative-bins-wrap",
        "negative bins wrap round",
        f"{OURS}.wrappers.bin_action",
        "if (indices < 0).any() or (indices >= self._limit).any():",
        "if (indices >= self._limit).any():",
        (BIN_ACTION,),
    ),
    Mutant(
        "policy-kwargs-lost-in-a-search",
        "the file's policy_kwargs lost in a trial",
        f"{OURS}.zoo.register",
        'fit_policy_kwargs(_hyperparams_of_file.get(), sampled["policy_kwargs"])',
        'sampled["policy_kwargs"]',
        (f"{REGISTER}::test_policy_kwargs_of_the_file_reach_every_trials_model",),
    ),
    Mutant(
        "stock-buffer-kept-on-load",
        "a file of stock PPO's trains with SB3's advantages",
        f"{OURS}.scratch_algorithm",
        "chosen_class = None  # a file of stock PPO's, which names its default",
        "pass",
        (f"{PPO_SCRATCH}::test_file_of_stock_ppo_gets_our_advantages_and_a_users_buffer_stays",),
    ),
    Mutant(
        "buffer-keeps-its-discount",
        "gamma and gae_lambda changed by a callback do not reach the buffer",
        f"{OURS}.live_attributes",
        "setattr(self.rollout_buffer, name, value)",
        "pass",
        (PPO_SCRATCH,),
    ),
    Mutant(
        "policy-kwargs-lost-in-a-loaded-trial",
        "the file's policy_kwargs lost when a trial is loaded",
        f"{OURS}.zoo.register",
        'fit_policy_kwargs(_read_file(self), loaded["policy_kwargs"])',
        'loaded["policy_kwargs"]',
        (f"{REGISTER}::test_policy_kwargs_of_the_file_survive_a_loaded_trial",),
    ),
    Mutant(
        "search-ends-at-shared-features",
        "layers of separate networks sampled for a trunk, which ends the whole search",
        f"{OURS}.zoo.register",
        'if of_file.get("share_features") and',
        'if of_file.get("shares") and',
        (f"{REGISTER}::test_search_goes_on_where_the_file_shares_features",),
    ),
    Mutant(
        "enjoy-in-scaled-units",
        "enjoy prints scaled returns (environments of enjoy)",
        f"{OURS}.zoo.register",
        'hyperparams["env_wrapper"] = with_unscaled_reward(hyperparams["env_wrapper"])',
        "pass",
        (f"{REGISTER}::test_environments_that_enjoy_makes_pay_the_original_reward",),
    ),
    Mutant(
        "enjoy-keeps-the-scale",
        "enjoy prints scaled returns (list of wrappers)",
        f"{OURS}.zoo.wrapper_lists",
        '{**keywords, "scale": 1.0}',
        "keywords",
        (WRAPPER_LISTS,),
    ),
    Mutant(
        "normaliser-moves-before-the-update",
        "observation normaliser updated before the update",
        f"{OURS}.ppo_scratch",
        "        rollout = update.read(self.rollout_buffer, exact_kl=kl.is_exact)\n",
        "        rollout = update.read(self.rollout_buffer, exact_kl=kl.is_exact)\n"
        "        if self.normalize_observations:\n"
        "            observations = self.rollout_buffer.observations\n"
        "            absorb_rollout(self.policy, observations.reshape(-1, *self.observation_space.shape))\n",
        (f"{NORMALIZER}::test_first_ratio_of_each_update_is_one",),
    ),
    Mutant(
        "num-threads-ignored",
        "rl_zoo3's --num-threads ignored by torch_threads='auto'",
        f"{OURS}.torch_threads",
        "if setting is None or _UserSetting.kept:",
        "if setting is None:",
        (f"{REGISTER}::test_num_threads_wins_over_auto",),
    ),
    *mistakes_in(
        "torch_threads",
        (THREADS,),
        (
            "threads-not-restored",
            "number of threads not restored",
            "    finally:\n        th.set_num_threads(before)",
            "    finally:\n        pass",
        ),
        (
            "blas-threads-not-restored",
            "number of NumPy's threads not restored",
            "library.set_num_threads(count)",
            "pass",
        ),
        ("blas-threads-not-set", "number of NumPy's threads not set", "library.set_num_threads(1)", "pass"),
    ),
]

LADDER = [
    *mistakes_in(
        "kl_control",
        (KL_CONTROL,),
        (
            "coefficient-never-halved",
            "KL penalty's weight only grows, and the learning rate only falls",
            "scale = scale / if_too_far",
            "pass",
        ),
        (
            "coefficient-without-bounds",
            "KL penalty's weight halved until it is 0",
            "bounds=COEFFICIENT_SCALES",
            "bounds=(0.0, math.inf)",
        ),
        (
            "rate-scale-outlives-its-mode",
            "the learning rate stays scaled after adaptive_lr was given up",
            "elif isinstance(control, AdaptiveRate):",
            "else:",
        ),
        (
            "coefficient-upside-down",
            "KL penalty relaxed where the policy moved too far",
            "if_too_far=COEFFICIENT_STEP",
            "if_too_far=1 / COEFFICIENT_STEP",
        ),
        (
            "rate-upside-down",
            "learning rate raised where the policy moved too far",
            "if_too_far=1 / RATE_STEP",
            "if_too_far=RATE_STEP",
        ),
        (
            "rollback-restores-nothing",
            "rollback stops, but takes nothing back",
            "        update.restore(self._before)\n",
            "",
        ),
        (
            "rollback-remembers-once",
            "rollback returns to the beginning of the update",
            "            self._before = update.remember()\n",
            "            self._before = self._before if self.n_applied else update.remember()\n",
        ),
        (
            "last-step-not-judged",
            "rollback does not look at the last step",
            "if not self.stop_reason and self",
            "if False and self",
        ),
    ),
    *mistakes_in(
        "updates.heads",
        (CLOSED_FORM, KL_CONTROL),
        (
            "kl-gradient-sign",
            "KL penalty rewards divergence",
            "gradient += d_kl * (self._p - np.exp(old))",
            "gradient -= d_kl * (self._p - np.exp(old))",
        ),
        (
            "kl-reversed",
            "KL(new || old) in place of KL(old || new)",
            "np.exp(old) * (old - self._log_p)",
            "self._p * (self._log_p - old)",
        ),
        (
            "kl-without-deviations",
            "KL of Gaussians without their deviations' gradient",
            "self._log_std_gradient += d_kl *",
            "self._log_std_gradient += 0 *",
        ),
    ),
    *mistakes_in(
        "rollout_ends",
        (ROLLOUT_ENDS,),
        (
            "first-to-end-count",
            "the episodes that end first count, which prefers short ones",
            "self._lengths += self._plays",
            "self._lengths += 1",
        ),
        (
            "endless-episode-warned-about-at-each-step",
            "a warning for every further step of a long episode",
            "self._last_end == STEPS_WITHOUT_END",
            "self._last_end >= STEPS_WITHOUT_END",
        ),
    ),
    *mistakes_in(
        "ppo_scratch",
        (KL_CONTROL,),
        (
            "largest-kl-without-the-last",
            "train/kl_max leaves out what was measured after the last step",
            '[stats.maximum("kl"), *kl.measured]',
            '[stats.maximum("kl")]',
        ),
        (
            "short-minibatch-counts-as-a-full-one",
            "the KL divergence averaged over minibatches in place of transitions",
            'stats.mean("kl", sizes)',
            'stats.mean("kl")',
        ),
        (
            "estimated-kl-not-said",
            "an estimate in place of the exact divergence passes silently",
            "if rollout.why_kl_is_estimated and kl.is_exact:",
            "if False:",
        ),
    ),
    *mistakes_in(
        "scratch_algorithm",
        (PPO_SCRATCH,),
        (
            "settings-not-checked-again",
            "attributes set after the constructor taken as they come",
            "        self._check_settings()\n        update = ",
            "        update = ",
        ),
    ),
    *mistakes_in(
        "model_files",
        (PPO_SCRATCH,),
        ("any-file-taken", "another algorithm's file loaded", "if cls.told_by not in saved:", "if False:"),
    ),
    Mutant(
        "weight-of-no-penalty",
        "kl_coef accepted where nothing looks at it",
        f"{OURS}.argument_checks",
        'settings["kl_coef"] != KL_COEF and',
        "False and",
        (KL_CONTROL,),
    ),
    *mistakes_in(
        "advantages",
        (ADVANTAGES, REINFORCE),
        (
            "reward-to-go-ignored",
            "weights of whole episodes always",
            "returns if reward_to_go else",
            "returns if False else",
        ),
        ("mean-baseline-ignored", "no mean subtracted", "weights = weights - weights.mean()", "pass"),
        ("value-baseline-ignored", "no value subtracted", "weights = weights - values", "pass"),
        ("returns-not-normalised", "normalize_returns ignored", "    if normalize:\n", "    if False:\n"),
    ),
    *mistakes_in(
        "callbacks",
        (REINFORCE,),
        (
            "solved-by-an-earlier-run",
            "returns of an earlier run counted",
            "self._returns, self._looked_for_monitor = [], False",
            "self._looked_for_monitor = False",
        ),
        (
            "lost-life-without-monitor",
            "a lost life taken for a missing Monitor",
            "if not is_vecenv_wrapped(env, VecMonitor) and not any(env.env_is_wrapped(Monitor)):",
            "if True:",
        ),
    ),
    *mistakes_in(
        "distributions",
        (DISTRIBUTIONS,),
        (
            "ordinal-boundary",
            "a category's own output counted as beyond it",
            "functional.pad(no_from_here[:, 1:], (0, 1))",
            "no_from_here",
        ),
        (
            "ordinal-order-lost",
            "ordinal logits without what lies beyond",
            "+ functional.pad(no_from_here[:, 1:], (0, 1))",
            "",
        ),
        (
            "ordinal-logits-cancel",
            "what lies beyond as a difference of two large sums",
            "functional.pad(no_from_here[:, 1:], (0, 1))",
            "(no.sum(dim=1, keepdim=True) - no.cumsum(dim=1))",
        ),
        (
            "nearest-atom-for-any-value",
            "values that are no atoms get the nearest one's probability",
            ".masked_fill(~are_atoms, -th.inf)",
            "",
        ),
        ("median-misses-the-tie", "rounding moves the median of equal probabilities", "< 0.5 - ROUNDING", "< 0.5"),
    ),
    Mutant(
        "atoms-equal-once-stored",
        "atoms that differ in float64 only, as which they are not stored",
        f"{OURS}.policies",
        "np.diff(values.astype(np.float32))",
        "np.diff(values)",
        (POLICIES,),
    ),
    *mistakes_in(
        "networks",
        (NETWORKS,),
        (
            "critic-still-trained",
            "optimiser keeps the removed critic's parameters",
            "policy.optimizer = policy.optimizer_class(",
            "policy.other = policy.optimizer_class(",
        ),
        ("trunk-without-layers", "a shared trunk that leaves out net_arch", "_as_widths(layers),", "[],"),
        (
            "defaults-of-the-last-class-only",
            "no trunk for a policy that passes its arguments on",
            "in policy_class.__mro__:",
            "in policy_class.__mro__[:1]:",
        ),
        (
            "layers-after-the-trunk",
            "layers of a policy's own after what is shared",
            "if any(True for _ in policy.mlp_extractor.parameters()):",
            "if False:",
        ),
    ),
    Mutant(
        "bootstrap-without-critic",
        "values in other units, or of no critic, stand in for rewards",
        f"{OURS}.ppo_scratch",
        "return self.critic and not self.normalize_returns",
        "return True",
        (ROLLOUT_ENDS, PPO_SCRATCH),
    ),
    Mutant(
        "mark-for-stock-missing",
        "stock PPO silently continues a run that it would continue otherwise",
        f"{OURS}.model_files",
        "if self._learns_otherwise_than_stock:",
        "if False:",
        (f"{ZIP}::test_file_of_reinforce_is_refused_by_stock",),
    ),
]

EVIDENCE = [
    *mistakes_in(
        "gaussian_distribution",
        (GAUSSIAN,),
        (
            "std-not-of-the-state",
            "the state's part of the std ignored",
            "(log_std + rest[:, ",
            "(log_std + 0 * rest[:, ",
        ),
        (
            "correlations-ignored",
            "components always independent",
            "factor = std[:, :, None] * (below + ",
            "factor = std[:, :, None] * (0 * below + ",
        ),
        (
            "columns-scaled",
            "the factor's columns scaled in place of its rows",
            "factor = std[:, :, None] * (",
            "factor = std[:, None, :] * (",
        ),
    ),
    Mutant(
        "clipped-actions-with-the-drawn-ones-probability",
        "clipped actions stored with the log-probabilities of those drawn",
        f"{OURS}.rollout_collector",
        "actions, log_probs = clipped_actions, self._log_probs_of(obs_tensor, clipped_actions)",
        "actions = clipped_actions",
        (DUTIES,),
    ),
    Mutant(
        "clipped-actions-in-the-boxs-shape",
        "clipped actions evaluated in the Box's shape, which the policy does not know",
        f"{OURS}.rollout_collector",
        "actions.reshape(len(actions), -1)",
        "actions",
        (POLICIES,),
    ),
    Mutant(
        "divergence-of-what-underflows",
        "an infinite divergence where a probability is too small for float32",
        f"{OURS}.updates.exact_kl",
        "each = _divergence(",
        "each = distributions.kl_divergence(",
        (EXACT_KL,),
    ),
    Mutant(
        "std-begins-where-it-never-learns",
        "a log std that begins where it is cut off, without a gradient",
        f"{OURS}.policies",
        "if self.state_dependent_std and not low <= self.log_std_init <= high:",
        "if False:",
        (GAUSSIAN,),
    ),
    Mutant(
        "observation-clip-ignored",
        "normalised observations always clipped to 10",
        f"{OURS}.observation_normalizer",
        ".clamp(-self.clip, self.clip)",
        ".clamp(-CLIP, CLIP)",
        (NORMALIZER,),
    ),
    *mistakes_in(
        "benchmark.training.evaluation",
        (EVALUATION,),
        ("clock-goes-on", "evaluations counted as training", "self._paused += time.process_time() - began", "pass"),
        (
            "other-seeds-each-time",
            "evaluations go on with whatever seeds follow",
            "        env.seed(first_seed + start)\n",
            "",
        ),
        (
            "evaluations-in-rollouts",
            "evaluations counted as collecting experience",
            "self._collected += self._seconds(time.process_time()) - self._rollout_began",
            "self._collected += time.process_time() - self._started - self._rollout_began",
        ),
        ("last-policy-not-seen", "nothing evaluated at the end", "        self._evaluate(self.n_final_episodes)\n", ""),
        (
            "stale-normalisation",
            "statistics of the beginning for ever",
            "if normalizer is not None and own is not None:",
            "if False:",
        ),
    ),
    *mistakes_in(
        "benchmark.training.records",
        (RECORDS,),
        (
            "damaged-models-taken",
            "a run whose model is gone counts as finished",
            'return record if record.model_digest == (digest_of(model) if model is not None else "") else None',
            "return record",
        ),
        (
            "solved-at-the-last",
            "solved by the last evaluation alone",
            "for point in self.evaluations:",
            "for point in self.evaluations[-1:]:",
        ),
        (
            "solved-above",
            "the threshold itself not enough",
            "if point.mean_return >= threshold:",
            "if point.mean_return > threshold:",
        ),
    ),
    *mistakes_in(
        "benchmark.training.ladder_report",
        (LADDER_REPORT,),
        (
            "unsolved-left-out",
            "runs that never solve left out of the median",
            "ordered = sorted(values)",
            "ordered = sorted(value for value in values if math.isfinite(value)) or [math.inf]",
        ),
        (
            "deviation-of-a-population",
            "standard deviation without Bessel's correction",
            "np.std(finals, ddof=1)",
            "np.std(finals)",
        ),
    ),
    *mistakes_in(
        "benchmark.training.execution",
        (EXECUTION,),
        ("other-settings-taken", "runs of other settings taken for these", "and record.identity == identity(run)", ""),
    ),
    *mistakes_in(
        "benchmark.statistics",
        (STATISTICS,),
        (
            "mean-of-all",
            "worst and best runs in the interquartile mean",
            "np.float64), 0.25, axis=axis",
            "np.float64), 0.0, axis=axis",
        ),
        (
            "percentiles-alone",
            "no BCa interval",
            'for method in ("BCa", "percentile")',
            'for method in ("percentile", "percentile")',
        ),
        ("margin-on-one-side", "equivalence looks at one end", "-margin <= difference.low and ", ""),
        ("ties-are-losses", "ties count as losses", "0.5 * (first == second)", "0.0 * (first == second)"),
        ("unsolved-left-out-of-times", "runs that never solve left out", "right=unfinished", "right=[]"),
    ),
    *mistakes_in(
        "benchmark.comparison.summary",
        (COMPARISON_SUMMARY,),
        (
            "other-seeds-compared",
            "pairs of different seeds",
            "([each[seed].final.mean_return for seed in seeds] for each in (runs, others))",
            "([each[seed].final.mean_return for seed in order] "
            "for each, order in ((runs, seeds), (others, seeds[::-1])))",
        ),
        (
            "best-policy-counts",
            "the best policy counts",
            "final=record.final.mean_return",
            "final=max(point.mean_return for point in record.evaluations)",
        ),
    ),
    *mistakes_in(
        "benchmark.comparison.compare",
        (COMPARISON_COMPARE,),
        ("worse-is-better", "more seconds are better", '"seconds": False', '"seconds": True'),
        ("failures-are-no-loss", "runs that fail go unnoticed", "bool(self.lost) or any", "any"),
        ("collapses-go-unnoticed", "most seeds decide", "gains.min() < 0.0", "gains[1] < 0.0"),
    ),
    *mistakes_in(
        "benchmark.permutation",
        (PERMUTATION,),
        (
            "many-tests-unnoticed",
            "no correction for the figures of other groups",
            "1.0 - math.prod(float(np.mean(each < observed)) for each in largest)",
            "float(np.mean(largest[group] >= observed))",
        ),
        (
            "figures-by-themselves",
            "no correction for other figures of a group",
            "np.maximum(largest[group], permuted[group].by_chance[:, figure])",
            "permuted[group].by_chance[:, figure]",
        ),
        ("ranks-not-looked-at", "one run hides a shift of the others", "stats.rankdata(both, axis=1)", "both"),
    ),
    *mistakes_in(
        "benchmark.comparison.wording",
        (COMPARISON_WORDING,),
        (
            "worse-called-better",
            "what is worse is called better",
            '"worse": f"{ours} ends lower',
            '"worse": f"{ours} ends higher',
        ),
    ),
    *mistakes_in(
        "benchmark.comparison.run",
        (f"{COMPARISON_REPORT}::test_runs_made_with_other_settings_are_left_out",),
        (
            "stale-runs-reported",
            "runs of other settings in the report",
            " and record.identity == identities.get(run.folder.as_posix())",
            "",
        ),
    ),
    *mistakes_in(
        "benchmark.training.ray_cluster",
        (
            f"{RAY_CLUSTER}::test_a_node_with_other_versions_says_which",
            f"{RAY_CLUSTER}::test_files_replace_an_earlier_tries_and_the_record_is_of_what_was_asked",
        ),
        ("versions-not-compared", "nodes train with whatever versions they have", "if differences:", "if False:"),
        (
            "identity-of-the-node",
            "a run made elsewhere is not known again",
            "replace(made.record, identity=asked, command=command)",
            "made.record",
        ),
    ),
    Mutant(
        "all-pictures-held",
        "every picture in memory before the first is written",
        f"{OURS}.film.pictures",
        "for picture in pictures:\n                if",
        "for picture in list(pictures):\n                if",
        (FILM,),
    ),
    Mutant(
        "memory-lost-between-steps",
        "recurrent models filmed without their memory",
        f"{OURS}.film.playing",
        "state=memory",
        "state=None",
        (FILM,),
    ),
    Mutant(
        "rendered-too-late",
        "episodes played before anybody knows whether they can be seen",
        f"{OURS}.film.making",
        "        check_rendering(env, run.env_id)\n",
        "",
        (FILM,),
    ),
    *mistakes_in(
        "export.deployed_policy",
        (EXPORT,),
        (
            "exported-actions-not-clipped",
            "actions outside of the bounds",
            "return actions.clamp(self.low, self.high)",
            "return actions",
        ),
        ("still-squashed", "actions left between -1 and 1", "if self.policy.squash_output:", "if False:"),
    ),
    *mistakes_in(
        "export.fixed_normalization",
        (EXPORT,),
        (
            "environments-normalisation-left-out",
            "VecNormalize's statistics not in the file",
            "if not isinstance(env, VecNormalize) or not env.norm_obs:",
            "if True:",
        ),
        (
            "missing-frames-normalised",
            "frames that are not there yet taken for frames of zeros",
            "th.where(observations.isnan(), self.mean, observations)",
            "observations.nan_to_num()",
        ),
    ),
    *mistakes_in(
        "export.onnx_file",
        (EXPORT,),
        (
            "one-batch-size-checked",
            "a file for one batch size only taken for good",
            "BATCHES = (1, 7, EXAMPLES)",
            "BATCHES = (EXAMPLES,)",
        ),
    ),
    *mistakes_in(
        "tutorial.gradients",
        (GRADIENTS,),
        ("own-noise-left-in", "a mean's own noise taken for signal", " - noise(gradients) / len(gradients)", ""),
        ("one-weight-for-all", "every action weighted by the first one's", ".advantages[:, 0])", ".advantages[0, 0])"),
    ),
    *mistakes_in(
        "tutorial.runs",
        (SEED_RUNS,),
        (
            "last-update-forgotten",
            "the very last update not written down",
            '"""Write down what the very last update logged."""\n        self._look()',
            '"""Write down what the very last update logged."""',
        ),
        ("final-episodes-of-training", "played on training's seeds", "seed=FIRST_EVALUATION_SEED, env", "seed=0, env"),
    ),
    *mistakes_in(
        "tutorial.drawing",
        (DRAWING,),
        ("extremes-as-band", "the whole range as the middle half", "[0.25, 0.5, 0.75]", "[0.0, 0.5, 1.0]"),
        ("episode-that-still-runs", "episodes averaged before they end", 'side="right"', 'side="left"'),
    ),
    Mutant(
        "one-line-judged-alone",
        "each of a table's comparisons at 5 %",
        f"{OURS}.benchmark.speed.summaries",
        "SIGNIFICANCE / comparisons",
        "SIGNIFICANCE",
        (SUMMARIES,),
    ),
]

RELIABILITY = [
    *mistakes_in(
        "policy_kwargs",
        ("tests/test_argument_checks.py",),
        ("layers-of-no-width", "a layer without units hides the observation", "width < 1 for", "width < 0 for"),
        ("unknown-layers", "layers under a key that nobody reads vanish", 'if key not in ("pi", "vf"):', "if False:"),
    ),
    *mistakes_in(
        "checkpoints.run_state",
        (RESUME,),
        ("random-states-forgotten", "random generators not restored", '    write_random_states(state["random"])\n', ""),
        (
            "noise-that-lasts-forgotten",
            "gSDE's noise drawn anew on resuming",
            "setattr(model.policy.action_dist, name, noise.to(model.device))",
            "pass",
        ),
        (
            "log-forgotten",
            "what the logger had recorded is lost on resuming",
            'getattr(model.logger, name).update(state["log"][name])',
            "pass",
        ),
        ("any-attribute-set", "a checkpoint sets whatever it names", " if name in COUNTERS}", "}"),
        (
            "episodes-forgotten",
            "means over episodes begin anew on resuming",
            'deque(state["episodes"][name], ',
            "deque([], ",
        ),
    ),
    *mistakes_in(
        "checkpoints.layer_states",
        (ENVIRONMENT_STATES,),
        (
            "environments-not-restored",
            "environments begin anew where their state was read",
            'setattr(layer, name, _restored(getattr(layer, name), state["attributes"][name]))',
            "pass",
        ),
        (
            "stacks-of-dicts-not-restored",
            "stacked observations begin anew where they are dicts",
            "_restored(stack, state[name])",
            "pass",
        ),
        (
            "only-the-outermost-restored",
            "of several layers that say what they keep, only the outermost is asked to take it over",
            '            write_own(layer_name(layer), layer.set_state, state["own"])\n',
            '            write_own(layer_name(layer), layer.set_state, state["own"])\n            break\n',
        ),
        (
            "losses-not-said",
            "wrappers of which nobody knows what they keep are lost without a word",
            "if isinstance(layer, gym.Wrapper) or not is_reset_wholly(layer)]",
            "if False]",
        ),
        ("lives-go-on", "a reset that only takes another life", "layer.was_real_done = True", "pass"),
    ),
    *mistakes_in(
        "checkpoints.environment_states",
        (RESUME, ENVIRONMENT_STATES),
        (
            "vector-layers-not-restored",
            "VecNormalize and the like begin anew",
            'write_layers(vector_layers(env), state["vector_layers"]["states"])',
            "pass",
        ),
        (
            "environments-generators-not-restored",
            "environments draw other numbers on resuming",
            'env.env_method("set_wrapper_attr", GENERATOR, generator, indices=index)',
            "pass",
        ),
    ),
    *mistakes_in(
        "checkpoints.environment_states",
        (CALLBACK_STATES,),
        (
            "unread-games-played-on",
            "a game of which a checkpoint knows the lives, not the rest, goes on with what is left of them",
            "if why_unreadable(env):",
            "if False:",
        ),
    ),
    *mistakes_in(
        "resumable_run",
        (RESUME,),
        (
            "no-run-as-training-starts",
            "a callback cannot ask for a checkpoint as training starts",
            "        self._callback, self._is_learning = callback, True\n",
            "",
        ),
        (
            "cut-episodes-worth-nothing",
            "what would have followed an episode that a checkpoint cuts counts nothing",
            "values * (self.gamma if bootstraps else 0.0)",
            "values * 0.0",
        ),
        (
            "checkpoint-within-a-step",
            "a checkpoint written before the step is complete",
            "if self._is_learning and not self._is_between_steps:",
            "if False:",
        ),
        (
            "half-a-step-not-noticed",
            "a run that an error left in the middle of a step goes on",
            "self._left_by = type(error).__name__",
            "pass",
        ),
        (
            "last-rollout-not-learned-from",
            "a run that stops in its last rollout ends without the last update",
            "while self._unfinished is not None or ",
            "while ",
        ),
    ),
    *mistakes_in(
        "rollout_buffers",
        (RESUME,),
        (
            "full-buffer-not-known-as-full",
            "a rollout that was complete at a checkpoint cannot be learned from",
            'state["position"] == state["size"]',
            "False",
        ),
    ),
    *mistakes_in(
        "checkpoints.tensorboard_log",
        (RESUME,),
        (
            "log-shows-what-was-lost",
            "TensorBoard shows what came after the checkpoint twice",
            "purge_step=first_step",
            "purge_step=None",
        ),
    ),
    *mistakes_in(
        "checkpoints.made_with",
        (RESUME,),
        (
            "other-environments-not-noticed",
            "a run goes on in other environments",
            "if now[ENVIRONMENTS] != record[ENVIRONMENTS]:",
            "if False:",
        ),
    ),
    *mistakes_in(
        "checkpoints.folder",
        ("tests/checkpoints/test_folder.py",),
        (
            "newer-format-taken-for-damage",
            "an older checkpoint goes on in the place of one of a newer format",
            "except (DamagedCheckpointError, OSError) as",
            "except (CheckpointError, OSError) as",
        ),
        (
            "fault-repeated-for-ever",
            "a run goes on before a fault, not after it, where both checkpoints are of one step",
            "match[1] == FAULT_PREFIX, path)",
            "match[1] != FAULT_PREFIX, path)",
        ),
        (
            "no-file-blocks-resume",
            "a folder with a checkpoint's name keeps a run from going on",
            "except (DamagedCheckpointError, OSError) as",
            "except DamagedCheckpointError as",
        ),
    ),
    *mistakes_in(
        "zoo.resume_option",
        ("tests/zoo/test_resume_option.py",),
        (
            "interrupted-run-looks-finished",
            "`train` saves a final model of a run that an interrupt has ended",
            "        learner.check_finished()\n",
            "",
        ),
    ),
    *mistakes_in(
        "zoo.folder_lock",
        ("tests/zoo/test_resume_option.py",),
        ("folder-shared", "two processes train in one folder", "fcntl.LOCK_EX", "fcntl.LOCK_SH"),
    ),
    *mistakes_in(
        "interrupts",
        ("tests/test_interrupts.py",),
        (
            "workers-end-with-ctrl-c",
            "Ctrl-C ends SB3's workers in the middle of a step",
            "signal.signal(signal.SIGINT, signal.SIG_IGN)",
            "signal.getsignal(signal.SIGINT)",
        ),
    ),
    *mistakes_in(
        "checkpoints.state_tree",
        (STATE_TREE,),
        (
            "order-of-axes-forgotten",
            "images that were transposed lie otherwise in memory on resuming, and convolutions round otherwise",
            "order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))",
            "order = list(range(array.ndim))",
        ),
    ),
    *mistakes_in(
        "checkpoints.random_states",
        (STATE_TREE,),
        (
            "cuda-started-by-asking",
            "CUDA started by reading a checkpoint",
            "return bool(th.cuda.is_initialized())  # type: ignore[no-untyped-call]",
            "return th.cuda.is_available()",
        ),
    ),
    *mistakes_in(
        "checkpoints.callback_attributes",
        (CALLBACK_STATES,),
        ("endless-rings", "callbacks that hold each other listed for ever", "if id(callback) in seen:", "if False:"),
        (
            "models-state-kept-twice",
            "a callback's view of the model's own buffers becomes a copy on resuming",
            " or id(value) in of_run:",
            ":",
        ),
    ),
    *mistakes_in(
        "checkpoints.callback_states",
        (CALLBACK_STATES,),
        (
            "evaluations-environments-forgotten",
            "environments of evaluation begin anew on resuming",
            "write_environments(env, state, name)",
            "pass",
        ),
        (
            "old-settings-said-nowhere",
            "arguments of callbacks changed without a word",
            "if name in given and name in before and not _are_same(before[name], value)",
            "if False",
        ),
    ),
    *mistakes_in(
        "checkpoints.checkpoint_file",
        (CHECKPOINT_FILE,),
        (
            "members-not-compared",
            "members not compared with their digests",
            'if digests != run.get("sha256") or',
            "if",
        ),
        ("unreadable-written", "a checkpoint written that cannot be read", "if len(run) > LARGEST_STATE:", "if False:"),
    ),
    *mistakes_in(
        "safe_writing",
        (SAFE_WRITING,),
        (
            "old-file-overwritten",
            "a checkpoint overwrites the old one",
            'with unfinished.open("xb")',
            'with path.open("wb")',
        ),
        (
            "writers-meet",
            "two processes write one unfinished file",
            "{secrets.token_hex(4)}.writing",
            "00000000.writing",
        ),
    ),
]

HOSTILE = "tests/untrusted/test_hostile_files.py"
FOUND = "tests/fuzz_files/test_fuzz_files.py"
NAN_WATCH = "tests/test_nan_watch.py"
NOT_FINITE = [
    *mistakes_in(
        "nan_watch",
        (NAN_WATCH,),
        (
            "figures-not-looked-at",
            "losses and gradients that are NaN pass",
            "elif not math.isfinite(float(figure)):",
            "elif False:",
        ),
        (
            "first-unread-named",
            "the first minibatch is named, not the first bad one (GPU)",
            "if not is_finite:",
            "if not figures.isfinite().all():",
        ),
        (
            "rows-taken-for-steps",
            "in rollouts of whole episodes, rows are taken for steps",
            "place = place_in_turn(place, lengths)",
            "pass",
        ),
        ("bad-update-kept", "a bad update is not taken back", "        self.update.restore(self._before)\n", ""),
        ("left-out-for-ever", "what is bad for ever is left out for ever", "self.n_in_a_row += 1", "pass"),
    ),
    *mistakes_in(
        "finite_checks",
        (NAN_WATCH,),
        ("last-bad-step-named", "the last bad step is named", "_bad_entries(array))[0]", "_bad_entries(array))[-1]"),
        (
            "infinity-is-fine",
            "infinity counts as a number",
            "bool(np.isfinite(array).all())",
            "not np.isnan(array).any()",
        ),
    ),
    Mutant(
        "workers-generators-forgotten",
        "global random generators of workers not set at resume",
        f"{OURS}.checkpoints.environment_states",
        "if each is not None:",
        "if False:",
        (RESUME,),
    ),
    *mistakes_in(
        "vec_env.clean_statistics",
        (NAN_WATCH,),
        ("nan-in-statistics", "VecNormalize takes NaN", "normalizer.training = False", "pass"),
        ("never-learns-again", "VecNormalize learns no more after NaN", ".training = True", ".training"),
        ("infinity-clipped", "VecNormalize clips infinity", "with_others(rewards, np.nan)", "rewards"),
    ),
    *mistakes_in(
        "resumable_run",
        (NAN_WATCH,),
        (
            "bad-rollout-kept",
            "the checkpoint of a fault keeps its rollout",
            "        self._unfinished = None\n        self._last",
            "        self._last",
        ),
    ),
]
ENVIRONMENT_FAULTS = [
    *mistakes_in(
        "vec_env.observation_rows",
        (FAULTS,),
        (
            "shapes-not-looked-at",
            "observations of another shape are repeated",
            "if array.shape == shape and keeps",
            "if keeps",
        ),
        (
            "types-not-looked-at",
            "fractions are cut off",
            "and keeps_its_numbers(array, dtype)",
            "and array.dtype.kind in 'biuf'",
        ),
    ),
    *mistakes_in(
        "vec_env.faults",
        (FAULTS, ENVIRONMENT_ERRORS),
        (
            "workers-not-ended",
            "workers of which one is lost are not ended",
            "    env.waiting, env.closed = False, True\n",
            "",
        ),
        ("other-worker-named", "the last lost worker is named", "lost[0]} {describe", "lost[-1] - 1} {describe"),
        (
            "exits-not-named",
            "an environment that calls sys.exit is not named",
            "OF_ENVIRONMENTS = (Exception, SystemExit)",
            "OF_ENVIRONMENTS = (Exception,)",
        ),
        ("last-environment-named", "no environment is named", 'frame.f_locals.get("env_idx")', "None"),
    ),
    *mistakes_in(
        "vec_env.checked_results",
        (FAULTS, CHECKED_RESULTS),
        ("observations-left-checked", "environments stay changed", "attributes.pop(name, None)", "pass"),
        (
            "other-types-stacked",
            "observations of another type are stacked",
            " or not is_kept_by_type(stacked.dtype, dtype)",
            "",
        ),
    ),
    *mistakes_in(
        "vec_env.step_values",
        (FAULTS, CHECKED_RESULTS),
        (
            "text-is-a-number",
            "text is taken for a number",
            'if not hasattr(type(value), "__float__"):',
            "if False:",
        ),
    ),
    *mistakes_in(
        "checkpoints.layer_states",
        (LAYER_ERRORS,),
        ("functions-kept", "what no checkpoint can hold is kept unnoticed", "if not is_state(own):", "if False:"),
    ),
    *mistakes_in(
        "vec_env.bad_reward",
        (FAULTS,),
        (
            "rewards-not-named",
            "a reward that is no number is not named",
            'getattr(owner, "unwrapped", None) is not owner',
            "False",
        ),
    ),
    *mistakes_in(
        "errors",
        (FAULTS, ENVIRONMENT_ERRORS),
        (
            "own-type-lost",
            "the type of an environment's error is lost",
            "type(cls.__name__, (cls, type(error))",
            "type(cls.__name__, (cls,)",
        ),
        (
            "own-attributes-first",
            "an environment's attributes take the place of the error's own",
            " if not hasattr(cls, name)",
            "",
        ),
        ("own-attributes-lost", "its attributes are lost", "update(own, env_index", "update({}, env_index"),
    ),
]
UNTRUSTED_FILES = [
    *mistakes_in(
        "zip_members",
        (HOSTILE,),
        (
            "compressed-members-read",
            "compressed members are read",
            "if member.compress_type != zipfile.ZIP_STORED:",
            "if False:",
        ),
        ("members-twice-read", "a member may be there twice", "if count > 1:", "if False:"),
        ("links-read", "links are read", "if stat.S_ISLNK(member.external_attr >> 16):", "if False:"),
    ),
    *mistakes_in(
        "untrusted.inert_pickle",
        (HOSTILE,),
        ("any-opcode", "pickles may have any opcode", "if not OPCODES.fullmatch(opcode.name):", "if False:"),
        ("any-place", "pickles may ask for any memory", "if opcode.name in PLACES and", "if False and"),
    ),
    *mistakes_in(
        "untrusted.inert_pickle",
        (FOUND,),
        ("any-key", "mappings may have keys without end", "if isinstance(key, tuple) or", "if False and"),
    ),
    *mistakes_in(
        "checkpoints.state_tree",
        (FOUND,),
        ("bytes-shared", "arrays may share their bytes", "        self._taken = end\n", ""),
    ),
    *mistakes_in(
        "checkpoints.random_states",
        (FOUND,),
        (
            "any-draw",
            "generators draw from foreign memory",
            "if any(not 0 <= each <= most",
            "if False and any(each > most",
        ),
    ),
    *mistakes_in(
        "zoo.plain_yaml",
        (FOUND,),
        ("settings-without-end", "settings may merge for ever", "if n_seen > MOST_NODES:", "if False:"),
    ),
    *mistakes_in(
        "wrappers.running_moments",
        (FOUND,),
        (
            "claims-believed",
            "the shape that an .npz file claims is believed",
            "if math.prod(shape) * dtype.itemsize >",
            "if False and 0 >",
        ),
    ),
    *mistakes_in(
        "untrusted.torch_files",
        (HOSTILE,),
        (
            "storages-believed",
            "the size that a storage declares is believed",
            "if n_items < 0 or n_items * item_size != there:",
            "if n_items < 0:",
        ),
        (
            "strides-believed",
            "the shape that a tensor declares is believed",
            "if n_items > storage.n_items or (n_items and last >= storage.n_items):",
            "if False:",
        ),
    ),
    *mistakes_in(
        "untrusted.bounded_memory",
        (HOSTILE,),
        (
            "networks-of-any-size",
            "networks may be of any size",
            "if n_elements > self._largest or self._left < 0:",
            "if False:",
        ),
    ),
    *mistakes_in(
        "untrusted.descriptions",
        (HOSTILE,),
        ("any-class", "any class may be named", "if not isinstance(name, str) or name not in known:", "if False:"),
        ("spaces-of-any-size", "spaces may be of any size", "if n_numbers > LARGEST_SPACE:", "if False:"),
    ),
    *mistakes_in(
        "model_files",
        ("tests/untrusted/test_load_untrusted.py",),
        (
            "rollouts-of-files",
            "a file decides how much memory its model takes",
            "shapeless = attributes | dict.fromkeys(shape, 1)",
            "shapeless = attributes | shape",
        ),
    ),
    *mistakes_in(
        "untrusted.saved_model",
        ("tests/untrusted/test_load_untrusted.py",),
        (
            "paths-of-files",
            "a file decides where logs are written",
            '{"lr_schedule", "tensorboard_log"}',
            '{"lr_schedule"}',
        ),
    ),
    *mistakes_in(
        "zoo.harmless_names",
        ("tests/zoo/test_harmless_names.py",),
        (
            "any-wrapper",
            "files may name any wrapper",
            "if not isinstance(name, str) or name not in HARMLESS:",
            "if False:",
        ),
        ("any-package", "files may import packages", "    if packages:\n", "    if False:\n"),
    ),
    *mistakes_in(
        "zoo.saved_statistics",
        ("tests/zoo/test_saved_statistics.py",),
        ("statistics-clip-lost", "clip_obs of the file is not used", "clip_obs=saved.clip_obs,", ""),
    ),
]
MUTANTS = (
    *ROLLOUTS_AND_ADVANTAGES,
    *UPDATES,
    *OWN_FEATURES_AND_FILES,
    *LADDER,
    *EVIDENCE,
    *RELIABILITY,
    *NOT_FINITE,
    *ENVIRONMENT_FAULTS,
    *UNTRUSTED_FILES,
)
"""Every mistake, in the order in which they are planted."""
