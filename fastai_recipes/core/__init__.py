"The building blocks that callbacks and recipes share, for callbacks of your own and for plain PyTorch loops"
from types import ModuleType as _Module

from fastai_recipes.core.checks import *
from fastai_recipes.core.factory import *
from fastai_recipes.core.files import *
from fastai_recipes.core.finite import *
from fastai_recipes.core.fit import *
from fastai_recipes.core.loader import *
from fastai_recipes.core.metrics import *
from fastai_recipes.core.processes import *
from fastai_recipes.core.rng import *
from fastai_recipes.core.run_state import *
from fastai_recipes.core.sample_loss import *
from fastai_recipes.core.second_pass import *
from fastai_recipes.core.smoothed_loss import *
from fastai_recipes.core.snapshot import *
from fastai_recipes.core.tensors import *
from fastai_recipes.core.weight_average import *

__all__ = [k for k, v in list(globals().items()) if not k.startswith('_') and not isinstance(v, _Module)]
