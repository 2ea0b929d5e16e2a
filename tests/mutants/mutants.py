"""The mistakes that the tests have to notice, each as a change of one module's source.

What is here: the table. What is not: planting them (`plugin.py`) and judging the outcome (`__main__.py`). A mistake
that could happen in this project's code and in a method inherited from stable_baselines3 stands here twice.
"""

from dataclasses import dataclass

OURS = "sb3_ppo_scratch"
SB3 = "stable_baselines3.common"
ROLLOUT = f"{SB3}.on_policy_algorithm"

DUTIES = "tests/test_rollout_duties.py"
PPO_SCRATCH = "tests/test_ppo_scratch.py"
LOSSES = "tests/updates/test_losses.py"
ADVANTAGES = "tests/test_advantages.py"
NORMALIZER = "tests/test_observation_normalizer.py"
ZIP = "tests/test_zip_compatibility.py"
REGISTER = "tests/zoo/test_register.py"
WRAPPER_LISTS = "tests/zoo/test_wrapper_lists.py"
SCALE_REWARD = "tests/wrappers/test_scale_reward.py"
BIN_ACTION = "tests/wrappers/test_bin_action.py"


PERMUTATION = """\
        indices = np.random.permutation(self.buffer_size * self.n_envs)
        # Prepare the data
        if not self.generator_ready:
            _tensor_names = [
                "observations",
"""
"""The shuffle of the buffer for array observations; the one for Dict observations goes on differently."""


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
        "last-values-zero-sb3",
        "no bootstrap at the end of a rollout (inherited loop)",
        ROLLOUT,
        "compute_returns_and_advantage(last_values=values, dones=dones)",
        "compute_returns_and_advantage(last_values=th.zeros_like(values), dones=dones)",
    ),
    Mutant(
        "last-dones-lost",
        "bootstrap although the rollout's last step ended its episode",
        ROLLOUT,
        "compute_returns_and_advantage(last_values=values, dones=dones)",
        "compute_returns_and_advantage(last_values=values, dones=np.zeros_like(dones))",
    ),
    Mutant(
        "truncation-not-bootstrapped",
        "no bootstrap at truncation",
        ROLLOUT,
        "rewards[idx] += self.gamma * terminal_value",
        "rewards[idx] += 0.0 * terminal_value",
    ),
    Mutant(
        "truncation-undiscounted",
        "bootstrap at truncation not discounted",
        ROLLOUT,
        "rewards[idx] += self.gamma * terminal_value",
        "rewards[idx] += terminal_value",
    ),
    Mutant(
        "truncation-with-reset-observation",
        "bootstrap at truncation with the next episode's first observation",
        ROLLOUT,
        'self.policy.obs_to_tensor(infos[idx]["terminal_observation"])[0]',
        "self.policy.obs_to_tensor(new_obs[idx])[0]",
    ),
    Mutant(
        "termination-bootstrapped",
        "bootstrap at termination too",
        ROLLOUT,
        'and infos[idx].get("TimeLimit.truncated", False)',
        "and True",
    ),
    Mutant(
        "both-endings-are-a-truncation",
        "terminated and truncated at once taken for a truncation",
        f"{SB3}.vec_env.dummy_vec_env",
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
        "decays = gamma * gae_lambda * not_ended",
        "decays = gamma * gae_lambda * np.ones_like(not_ended)",
        (ADVANTAGES,),
    ),
    Mutant(
        "gae-lambda-ignored",
        "gae_lambda ignored",
        f"{OURS}.advantages",
        "decays = gamma * gae_lambda * not_ended",
        "decays = gamma * not_ended",
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
        f"{OURS}.rollout_buffers",
        "self.returns = self.advantages + self.values",
        "self.returns = self.advantages.copy()",
    ),
    Mutant(
        "episode-starts-shifted",
        "episode_starts read one step too early",
        f"{OURS}.advantages",
        "np.concatenate([episode_starts[1:], last_dones[np.newaxis].astype(np.float32)])",
        "np.concatenate([episode_starts[:-1], last_dones[np.newaxis].astype(np.float32)])",
        (ADVANTAGES,),
    ),
    Mutant(
        "episode-starts-shifted-sb3",
        "episode_starts stored one step too early",
        ROLLOUT,
        "self._last_episode_starts,  # type: ignore[arg-type]\n                values,",
        "dones,\n                values,",
    ),
    Mutant(
        "next-observations-stored",
        "the observation after the action stored",
        ROLLOUT,
        "self._last_obs,  # type: ignore[arg-type]\n                actions,",
        "new_obs,\n                actions,",
    ),
    Mutant(
        "actions-swapped",
        "actions swapped between environments",
        ROLLOUT,
        "env.step(clipped_actions)",
        "env.step(clipped_actions[::-1])",
    ),
    Mutant(
        "actions-not-clipped",
        "actions not clipped to the Box",
        ROLLOUT,
        "clipped_actions = np.clip(actions, self.action_space.low, self.action_space.high)",
        "clipped_actions = actions",
    ),
    Mutant(
        "clipped-actions-stored",
        "the clipped actions stored",
        ROLLOUT,
        "clipped_actions = np.clip(actions, self.action_space.low, self.action_space.high)",
        "clipped_actions = actions = np.clip(actions, self.action_space.low, self.action_space.high)",
    ),
    Mutant(
        "squashed-actions-not-unscaled",
        "squashed gSDE actions not unscaled",
        ROLLOUT,
        "clipped_actions = self.policy.unscale_action(clipped_actions)",
        "clipped_actions = actions",
    ),
    Mutant(
        "unscaled-as-if-symmetric",
        "squashed actions unscaled as if the bounds were symmetric",
        f"{SB3}.policies",
        "return low + (0.5 * (scaled_action + 1.0) * (high - low))",
        "return scaled_action * high",
    ),
    Mutant(
        "sde-sample-freq-ignored",
        "sde_sample_freq ignored",
        ROLLOUT,
        "if self.use_sde and self.sde_sample_freq > 0 and n_steps % self.sde_sample_freq == 0:",
        "if False:",
    ),
    Mutant(
        "sde-noise-never-drawn-anew",
        "gSDE noise not drawn anew at a rollout's beginning",
        ROLLOUT,
        "if self.use_sde:\n            self.policy.reset_noise(env.num_envs)\n\n        callback",
        "callback",
    ),
    Mutant(
        "acting-in-training-mode",
        "dropout left on while acting",
        ROLLOUT,
        "self.policy.set_training_mode(False)",
        "self.policy.set_training_mode(True)",
    ),
    Mutant(
        "timesteps-count-once",
        "num_timesteps counts vectorised steps",
        ROLLOUT,
        "self.num_timesteps += env.num_envs",
        "self.num_timesteps += 1",
    ),
    Mutant(
        "callback-cannot-stop",
        "a callback's False ignored",
        ROLLOUT,
        "if not callback.on_step():\n                return False",
        "callback.on_step()",
    ),
    Mutant(
        "update-after-stop",
        "an update from an unfinished rollout",
        ROLLOUT,
        "if not continue_training:\n                break",
        "if not continue_training:\n                self.rollout_buffer.full = True\n"
        "                self.train()\n                break",
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
        f"{OURS}.ppo_scratch",
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
        f"{OURS}.ppo_scratch",
        "self._current_progress_remaining = max(0.0, self._current_progress_remaining)",
        "pass",
        (f"{PPO_SCRATCH}::test_remaining_progress_never_falls_below_zero",),
    ),
    Mutant(
        "entropy-ignored",
        "entropy bonus ignored",
        f"{OURS}.updates.autograd",
        "settings.ent_coef * entropy_loss",
        "0.0 * entropy_loss",
    ),
    Mutant(
        "entropy-sign",
        "entropy bonus of the wrong sign",
        f"{OURS}.updates.losses",
        "if entropy is None else -entropy.mean()",
        "if entropy is None else entropy.mean()",
    ),
    Mutant(
        "sampled-entropy-sign",
        "entropy bonus of the wrong sign where it is estimated (squashed gSDE)",
        f"{OURS}.updates.losses",
        "return log_prob.mean() if entropy is None",
        "return -log_prob.mean() if entropy is None",
        (LOSSES,),
    ),
    Mutant(
        "value-clipping-ignored",
        "value clipping ignored",
        f"{OURS}.updates.losses",
        "if clip_range_vf is not None:",
        "if False:",
    ),
    Mutant(
        "value-weight-ignored",
        "vf_coef ignored",
        f"{OURS}.updates.autograd",
        "settings.vf_coef * value_loss",
        "value_loss",
    ),
    Mutant(
        "target-kl-ignored",
        "target_kl ignored",
        f"{OURS}.ppo_scratch",
        "if settings.target_kl is not None and",
        "if False and",
    ),
    Mutant(
        "target-kl-without-margin",
        "target_kl without its factor 1.5",
        f"{OURS}.ppo_scratch",
        "figures.approx_kl > 1.5 * settings.target_kl",
        "figures.approx_kl > settings.target_kl",
    ),
    Mutant(
        "target-kl-stops-an-epoch-only",
        "target_kl ends only the epoch",
        f"{OURS}.ppo_scratch",
        "if excess_kl is not None:",
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
        "th.nn.utils.clip_grad_norm_(policy.parameters(), max_grad_norm)",
        "pass",
    ),
    Mutant(
        "gradients-clipped-one-by-one",
        "gradients clipped element by element",
        f"{OURS}.updates.autograd",
        "th.nn.utils.clip_grad_norm_(policy.parameters(), max_grad_norm)",
        "th.nn.utils.clip_grad_value_(policy.parameters(), max_grad_norm)",
    ),
    Mutant(
        "gradients-never-zeroed",
        "gradients never zeroed",
        f"{OURS}.updates.autograd",
        "policy.optimizer.zero_grad()",
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
        "last-minibatch-dropped",
        "the short last minibatch dropped (our loop)",
        f"{OURS}.ppo_scratch",
        "for batch in self.rollout_buffer.get(self.batch_size):\n",
        "for batch in self.rollout_buffer.get(self.batch_size):\n"
        "            if len(batch.actions) < self.batch_size:\n                continue\n",
    ),
    Mutant(
        "last-minibatch-dropped-sb3",
        "the short last minibatch dropped (inherited buffer)",
        f"{SB3}.buffers",
        "            start_idx += batch_size\n\n    def _get_samples(\n        self,",
        "            start_idx += batch_size\n            if start_idx + batch_size > self.buffer_size * self.n_envs:\n"
        "                break\n\n    def _get_samples(\n        self,",
    ),
    Mutant(
        "minibatch-rows-mixed",
        "log-probabilities of other transitions of the minibatch (inherited buffer)",
        f"{SB3}.buffers",
        "            self.log_probs[batch_inds].flatten(),\n            self.advantages",
        "            self.log_probs[batch_inds[::-1]].flatten(),\n            self.advantages",
    ),
    Mutant(
        "not-shuffled",
        "minibatches in the same order at every epoch (inherited buffer)",
        f"{SB3}.buffers",
        PERMUTATION,
        PERMUTATION.replace("np.random.permutation", "np.arange"),
    ),
    Mutant(
        "advantages-not-normalised",
        "advantages not normalised",
        f"{OURS}.updates.autograd",
        "if settings.normalize_advantage:",
        "if False:",
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
        "-th.minimum(",
        "-th.maximum(",
    ),
    Mutant(
        "ratio-clipped-above-only",
        "ratio clipped from above only",
        f"{OURS}.updates.losses",
        "ratio.clamp(1 - clip_range, 1 + clip_range)",
        "ratio.clamp(max=1 + clip_range)",
    ),
    Mutant(
        "learning-in-evaluation-mode",
        "dropout off while learning",
        f"{OURS}.ppo_scratch",
        "self.policy.set_training_mode(True)",
        "self.policy.set_training_mode(False)",
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
        f"{OURS}.ppo_scratch",
        "self.rollout_buffer_class = chosen_buffer_class\n",
        "pass\n",
        (f"{ZIP}::test_file_names_no_class_of_this_project",),
    ),
    Mutant(
        "normaliser-moves-before-the-update",
        "observation normaliser updated before the update",
        f"{OURS}.ppo_scratch",
        "        stats = UpdateStats()\n        for epoch",
        "        stats = UpdateStats()\n        if self.normalize_observations:\n"
        "            flatten = self.rollout_buffer.swap_and_flatten\n"
        "            absorb_rollout(self.policy, flatten(self.rollout_buffer.observations))\n        for epoch",
        (f"{NORMALIZER}::test_first_ratio_of_each_update_is_one",),
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
        "threads-not-restored",
        "number of threads not restored",
        f"{OURS}.torch_threads",
        "    finally:\n        th.set_num_threads(before)",
        "    finally:\n        pass",
        (f"{PPO_SCRATCH}::test_threads_are_limited_while_learning_and_restored",),
    ),
    Mutant(
        "num-threads-ignored",
        "rl_zoo3's --num-threads ignored by torch_threads='auto'",
        f"{OURS}.torch_threads",
        "if _UserSetting.kept or",
        "if",
        (f"{REGISTER}::test_num_threads_wins_over_auto",),
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
        'merged = merge_policy_kwargs(_policy_kwargs_of_file.get(), sampled["policy_kwargs"])',
        'merged = sampled["policy_kwargs"]',
        (f"{REGISTER}::test_policy_kwargs_of_the_file_reach_every_trials_model",),
    ),
    Mutant(
        "stock-buffer-kept-on-load",
        "a file of stock PPO's trains with SB3's advantages",
        f"{OURS}.ppo_scratch",
        "chosen_buffer_class = None  # a file of stock PPO's, which names its default",
        "pass",
        (f"{PPO_SCRATCH}::test_file_of_stock_ppo_gets_our_advantages_and_a_users_buffer_stays",),
    ),
    Mutant(
        "buffer-keeps-its-discount",
        "gamma and gae_lambda changed by a callback do not reach the buffer",
        f"{OURS}.ppo_scratch",
        "setattr(self.rollout_buffer, name, value)",
        "pass",
        (PPO_SCRATCH,),
    ),
    Mutant(
        "policy-kwargs-lost-in-a-loaded-trial",
        "the file's policy_kwargs lost when a trial is loaded",
        f"{OURS}.zoo.register",
        'merge_policy_kwargs(_read_policy_kwargs(self), loaded["policy_kwargs"])',
        'loaded["policy_kwargs"]',
        (f"{REGISTER}::test_policy_kwargs_of_the_file_survive_a_loaded_trial",),
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
]

MUTANTS = (*ROLLOUTS_AND_ADVANTAGES, *UPDATES, *OWN_FEATURES_AND_FILES)
"""Every mistake, in the order in which they are planted."""
