"What the processes of test_tuning.py and kills.py do, and how what they leave is counted."
import io
import multiprocessing as mp
import socket
import time
import warnings
from collections import Counter
from contextlib import redirect_stdout
from functools import cache

import optuna
import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from optuna.storages import JournalStorage, journal, run_grpc_proxy_server
from optuna.trial import TrialState
from torch import nn

from fastai_recipes.recipes import tuning
from fastai_recipes.testing import toy_dls

SPACE = dict(lr=('log', 1e-4, 1.), wd=('uniform', 0., 1.), act=['relu', 'mish'])
EXPLORE = 6
PROCESSES = mp.get_context('forkserver')
PROCESSES.set_forkserver_preload(['tuning_worker'])


class Slow(Callback):
    pause = .1
    def before_train(self): time.sleep(self.pause)


def make_learner(config):
    torch.set_num_threads(1)
    dls = toy_dls(torch.ones(8, 2)*config.wd, torch.arange(8) % 2, bs=8)
    return Learner(dls, nn.Linear(2, 2), loss_func=CrossEntropyLossFlat(), cbs=Slow())


def search(storage, n_trials, pause=.1):
    Slow.pause = pause
    with redirect_stdout(io.StringIO()):
        return tuning.tune(make_learner, SPACE, n_trials, fit=lambda learn, config: learn.fit(2, config.lr), explore=EXPLORE,
                           storage=storage, name='shared')


def serve(file, port):
    run_grpc_proxy_server(JournalStorage(journal.JournalFileBackend(file)), host='localhost', port=port)


def start(*args, target=search):
    process = PROCESSES.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def free_port():
    with socket.socket() as s:
        s.bind(('localhost', 0))
        return s.getsockname()[1]


def trials(storage):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try: return optuna.load_study(study_name='shared', storage=tuning._storage(storage)).get_trials()
        except KeyError: return []


def point(trial): return tuple(trial.params[k] for k in SPACE)


@cache
def explored():
    "The points that a search explores if nobody disturbs it"
    return [point(t) for t in search(None, EXPLORE, 0.).study.get_trials()]


def outcome(found):
    "Of a study's trials: how many results, points that were broken off, points that are lost, and results too many for one point"
    results = Counter(point(t) for t in found if t.state in (TrialState.COMPLETE, TrialState.PRUNED))
    broken = [t for t in found if t.state == TrialState.FAIL and 'failed' not in t.user_attrs]
    expected = {point(t) for t in broken if len(t.params) == len(SPACE)} | set(explored())
    return dict(results=results.total(), broken=len(broken), lost=len(expected - set(results)), doubled=results.total() - len(results))
