"What README names: `from fastai_recipes.all import *`. Building blocks are in `fastai_recipes.core`"
from fastai_recipes.losses import AsymmetricLoss, MultiClassFocalLoss, MultiLabelFocalLoss, OneVsAllBCE, PolyLoss
from fastai_recipes.optimizers import list_opts, opt_func
from fastai_recipes.splits import GroupSplitter, MultiLabelSplitter, kfold_splits
from fastai_recipes.targets import class_weights, sample_weights
from fastai_recipes.callbacks.averaging import EMA, SWA
from fastai_recipes.callbacks.awp import AWP
from fastai_recipes.callbacks.batch_filter import BatchLossFilter
from fastai_recipes.callbacks.checkpoint import Checkpoint
from fastai_recipes.callbacks.fp16 import Fp16Guard
from fastai_recipes.callbacks.gradient_noise import GradientNoise
from fastai_recipes.callbacks.layer_stats import LayerStats
from fastai_recipes.callbacks.rollback import Rollback
from fastai_recipes.callbacks.sam import SAM
from fastai_recipes.callbacks.skip_non_finite import SkipNonFinite
from fastai_recipes.callbacks.weighting import WeightedSampling
from fastai_recipes.recipes.diagnosis import (class_report, confused_pairs, label_errors, metric_correlation,
                                              top_losses_frame)
from fastai_recipes.recipes.ensemble import Ensemble
from fastai_recipes.recipes.folds import cross_validate
from fastai_recipes.recipes.gradient_check import check_gradients
from fastai_recipes.recipes.ray import ray_space, ray_trainable
from fastai_recipes.recipes.search_space import search_space
from fastai_recipes.recipes.seeds import compare, plot_runs, refit_at_best_epoch, train_seeds
from fastai_recipes.recipes.snapshots import snapshot_ensemble, soup
from fastai_recipes.recipes.transfer import timm_splitter
from fastai_recipes.recipes.tuning import tune
from fastai_recipes.recipes.unlabelled import pseudo_labels, to_label
import fastai_recipes.recipes.batch_size, fastai_recipes.recipes.distillation  # methods of Learner
import fastai_recipes.recipes.guards, fastai_recipes.recipes.learning_rate, fastai_recipes.recipes.noise_scale
import fastai_recipes.recipes.sanity, fastai_recipes.recipes.schedules

__all__ = [o for o in dir() if not o.startswith('_') and o != 'fastai_recipes']
