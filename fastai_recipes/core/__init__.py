"The building blocks that callbacks and recipes share, for callbacks of your own and for plain PyTorch loops"
from fastai_recipes.core import (checks, factory, files, fit, loader, metrics, processes, rng, run_state,
                                 sample_loss, second_pass, snapshot, tensors)
from fastai_recipes.core.checks import *
from fastai_recipes.core.factory import *
from fastai_recipes.core.files import *
from fastai_recipes.core.fit import *
from fastai_recipes.core.loader import *
from fastai_recipes.core.metrics import *
from fastai_recipes.core.processes import *
from fastai_recipes.core.rng import *
from fastai_recipes.core.run_state import *
from fastai_recipes.core.sample_loss import *
from fastai_recipes.core.second_pass import *
from fastai_recipes.core.snapshot import *
from fastai_recipes.core.tensors import *

__all__ = [name for room in (checks, factory, files, fit, loader, metrics, processes, rng, run_state,
                              sample_loss, second_pass, snapshot, tensors) for name in room.__all__]
