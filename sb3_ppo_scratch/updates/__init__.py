"""How one minibatch changes the policy: the objective's terms (`losses`) and a step along its gradient (`autograd`)."""
