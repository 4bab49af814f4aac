"What the processes of test_tuning.py do."
import time

import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from optuna.storages import JournalStorage, journal, run_grpc_proxy_server
from torch import nn

from fastai_recipes.testing import toy_dls
from fastai_recipes.recipes.tuning import tune

SPACE = dict(lr=('log', 1e-4, 1.), wd=('uniform', 0., 1.), act=['relu', 'mish'])


class Slow(Callback):
    pause = .1
    def before_train(self): time.sleep(self.pause)


def make_learner(config):
    torch.set_num_threads(1)
    dls = toy_dls(torch.ones(8, 2)*config.wd, torch.arange(8) % 2, bs=8)
    return Learner(dls, nn.Linear(2, 2), loss_func=CrossEntropyLossFlat(), cbs=Slow())


def search(storage, n_trials, pause=.1):
    Slow.pause = pause
    tune(make_learner, SPACE, n_trials, fit=lambda learn, config: learn.fit(2, config.lr), explore=6, storage=storage, name='shared')


def serve(file, port):
    run_grpc_proxy_server(JournalStorage(journal.JournalFileBackend(file)), host='localhost', port=port)
