"Every public name of the package: `from fastai_recipes.all import *`"
from fastai_recipes.core import *
from fastai_recipes.losses import *
from fastai_recipes.splits import *
from fastai_recipes.sam import *
from fastai_recipes.averaging import *
from fastai_recipes.awp import *
from fastai_recipes.batch_filter import *
from fastai_recipes.guards import *
from fastai_recipes.weighting import *
from fastai_recipes.checkpoint import *
from fastai_recipes.batch_size import *
from fastai_recipes.schedules import *
from fastai_recipes.optimizers import *
from fastai_recipes.transfer import *
from fastai_recipes.tuning import *
from fastai_recipes.ensemble import *
