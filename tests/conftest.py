"One thread: the nets are small, and on a busy machine threads only wait for each other."
import torch

torch.set_num_threads(1)
