"""PyTorch's side of the benchmarks: twins of networks, losses and loops."""
