"""Floor 2: data sets, batches as pure functions of (seed, step), views."""
