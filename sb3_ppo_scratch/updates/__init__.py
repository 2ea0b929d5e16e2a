"""Ways of improving the policy from a rollout, minibatch by minibatch: by autograd, and in closed form for MLPs."""
