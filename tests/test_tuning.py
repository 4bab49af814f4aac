"Studies by several processes, some of which are killed; Ray Tune."
import json
import multiprocessing as mp
import random
import socket
import threading
import time
import warnings
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import optuna
import pytest
import tuning_worker
from optuna.trial import TrialState

from fastai_recipes import tuning

PROCESSES = mp.get_context('forkserver')
PROCESSES.set_forkserver_preload(['tuning_worker'])
TIMEOUT = 600      # seconds, on a busy machine
SLOW = .5          # seconds before an epoch of a process that is killed before all is done


def start(*args, target=tuning_worker.search):
    process = PROCESSES.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def trials(storage):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try: return optuna.load_study(study_name='shared', storage=tuning._storage(storage)).get_trials()
        except KeyError: return []


def wait_for(n, storage):
    "Until `n` trials have begun"
    until = time.time() + TIMEOUT
    while len(trials(storage)) < n:
        assert time.time() < until
        time.sleep(.02)


def check(storage, n_trials):
    "As many results as wanted, none of them twice; what was broken off was tried once more"
    found = trials(storage)
    results = [t for t in found if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    broken = [t for t in found if t.state == TrialState.FAIL and 'ended' not in t.user_attrs]
    assert len(results) == n_trials, Counter(t.state for t in found)
    assert not [t for t in found if not t.state.is_finished()]
    points = Counter(tuple(t.params.values()) for t in results)
    assert max(points.values()) == 1, points
    had_a_point = [t for t in broken if len(t.params) == len(tuning_worker.SPACE)]
    assert all(points[tuple(t.params.values())] == 1 for t in had_a_point)
    assert all(t.user_attrs['epochs'] == 2 for t in results if t.state == TrialState.COMPLETE)
    return broken


def test_killed_again_and_again(tmp_path):
    storage, rng = str(tmp_path/'study.journal'), random.Random(0)
    for _ in range(4):
        process = start(storage, 10, SLOW)
        wait_for(len(trials(storage)) + 1, storage)
        time.sleep(rng.random()*.5)
        process.kill()
        process.join()
    last = start(storage, 10)
    last.join(TIMEOUT)
    assert last.exitcode == 0
    assert len(check(storage, 10)) >= 2          # some were killed in the middle of a trial


@pytest.mark.parametrize('kind', ['journal', 'grpc'])
def test_four_processes_one_killed(tmp_path, kind):
    file = str(tmp_path/'study.journal')
    storage = file
    if kind == 'grpc':
        with socket.socket() as s:
            s.bind(('localhost', 0))
            port = s.getsockname()[1]
        server = start(file, port, target=tuning_worker.serve)
        storage = f'grpc://localhost:{port}'
        tuning._storage(storage).wait_server_ready(timeout=TIMEOUT)
    workers = [start(storage, 16, SLOW)]
    wait_for(1, storage)                 # so that the one that is killed has taken part
    workers += [start(storage, 16) for _ in range(3)]
    wait_for(6, storage)
    workers[0].kill()
    for w in workers: w.join(TIMEOUT)
    assert [w.exitcode for w in workers] == [-9, 0, 0, 0]
    check(storage, 16)
    assert len({t.user_attrs['worker'] for t in trials(storage) if 'worker' in t.user_attrs}) >= 2   # it may die unsigned
    if kind == 'grpc':
        server.kill()
        server.join()


class Killed(BaseException): "Nothing is written after it"


class Turns:
    "Threads as processes, of which one runs at a time: before each look into the storage another may go on, or one be struck"
    def __init__(self, rng, work):
        self.rng, self.work, self.here, self.back = rng, work, threading.local(), threading.Semaphore(0)
        self.waiting, self.struck, self.hit, self.names, self.errors = {}, {}, set(), iter(map(str, range(100))), []

    def start(self):
        name, go = next(self.names), threading.Semaphore(0)
        self.waiting[name] = go
        def live():
            self.here.name = name
            go.acquire()
            try: self.work()
            except (Killed, KeyboardInterrupt): pass
            except Exception as e: self.errors.append(e)
            del self.waiting[name]
            self.back.release()
        threading.Thread(target=live, daemon=True).start()

    def step(self, *_):
        name = getattr(self.here, 'name', None)
        if name is None: return
        if self.struck.get(name) is not Killed:
            self.back.release()
            self.waiting[name].acquire()
        error = self.struck.get(name)
        if error is KeyboardInterrupt: del self.struck[name]
        if error: raise error('struck')

    def run(self, n_workers, n_strikes):
        for _ in range(n_workers): self.start()
        while self.waiting:
            name = self.rng.choice(list(self.waiting))
            if n_strikes and name not in self.hit and self.rng.random() < .04:
                n_strikes -= 1
                self.hit.add(name)
                self.struck[name] = self.rng.choice([Killed, KeyboardInterrupt])
                self.start()
            self.waiting[name].release()
            self.back.acquire()


class InTurns(optuna.storages.InMemoryStorage):
    "Where others come in between"
    def __init__(self): super().__init__(); self.step, self.owners, self.here = None, {}, None
    def create_new_trial(self, study, template_trial=None):
        self.step()
        trial = super().create_new_trial(study, template_trial)
        if template_trial is None: self.owners[trial] = self.here.name
        return trial
    def set_trial_state_values(self, trial, state, values=None):
        self.step()
        done = super().set_trial_state_values(trial, state, values)
        if done and state == TrialState.RUNNING: self.owners[trial] = self.here.name
        return done
    def set_trial_param(self, *args): self.step(); super().set_trial_param(*args)
    def set_trial_user_attr(self, *args): self.step(); super().set_trial_user_attr(*args)
    def get_all_trials(self, *args, **kwargs): self.step(); return super().get_all_trials(*args, **kwargs)


def in_some_order(seed, monkeypatch, mistaken=0.):
    "How many results are wanted, what is planned, trials that have one, points broken off; how often is a live process taken for dead?"
    rng, storage, found = random.Random(seed), InTurns(), tuning._ranges(tuning_worker.SPACE)
    ranges, n_trials = {k: tuning._distribution(*r) for k, r in found.items()}, rng.randint(3, 12)
    plan = [dict(lr=.5, wd=.25, act='relu'), dict(lr=.03)][:rng.randint(0, 2)]
    class Objective:
        metric = 'x'
        def __call__(self, config, report): turns.step(); return config.lr + config.wd + len(config.act)
    def work():
        study = optuna.load_study(study_name='shared', storage=storage, sampler=tuning._samplers('random', ranges, 0, 42))
        tuning._queue(study, plan)
        for _ in tuning._results(study, tuning._runner(study, Objective(), found, ranges, n_trials), n_trials): pass
    turns = Turns(rng, work)
    storage.step, storage.here = turns.step, turns.here
    monkeypatch.setattr(tuning, '_gone', lambda trial: storage.owners[trial._trial_id] not in turns.waiting or rng.random() < mistaken)
    monkeypatch.setattr(tuning, '_signs_of_life', lambda trial: nullcontext())
    monkeypatch.setattr(tuning, 'time', SimpleNamespace(time=time.time, sleep=turns.step))
    with tuning._silent():
        study = optuna.create_study(study_name='shared', storage=storage)
        turns.run(rng.randint(1, 4), rng.randint(0, 4))
    assert not turns.errors, (seed, turns.errors)
    failed = study.get_trials(states=[TrialState.FAIL])
    broken = {tuple(t.params.values()) for t in failed if len(t.params) == len(ranges)}
    return n_trials, plan, study.get_trials(states=[TrialState.COMPLETE]), broken


@pytest.mark.parametrize('seeds', [range(300), pytest.param(range(300, 6000), marks=pytest.mark.slow)], ids=['some', 'many'])
def test_any_order(seeds, monkeypatch):
    "As many results as wanted, no point twice, what is planned and what was broken off once, whoever does what when"
    for seed in seeds:
        n_trials, plan, done, broken = in_some_order(seed, monkeypatch)
        results, planned = Counter(tuple(t.params.values()) for t in done), Counter(t.user_attrs.get('planned') for t in done)
        assert results.total() == n_trials and max(results.values()) == 1 and broken <= set(results), (seed, n_trials, results, broken)
        assert all(planned[json.dumps(o, sort_keys=True)] == 1 for o in plan), (seed, plan, planned)


def test_taken_for_dead(monkeypatch):
    "A process whose trial was given to another, since its clock or its network failed, goes on with the next one"
    for seed in range(100):
        n_trials, _, done, _ = in_some_order(seed, monkeypatch, .02)
        assert len(done) >= n_trials, seed


@pytest.fixture(scope='module')
def ray_tune(tmp_path_factory):
    ray = pytest.importorskip('ray')
    from ray import tune
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False, _temp_dir=None)
    yield tune
    ray.shutdown()


def ray_learner():
    "By value, so that Ray's processes need not import this module"
    def make_learner(config):
        from fastai_recipes.testing import digits_dls, digits_learner
        return digits_learner(digits_dls(bs=256), dropout=config.drop)
    return make_learner


def results(tune, tmp_path, scheduler, space, n, epochs):
    tuner = tune.Tuner(tuning.ray_trainable(ray_learner(), epochs, metric='accuracy'), param_space=space,
                       tune_config=tune.TuneConfig(metric='accuracy', mode='max', scheduler=scheduler, num_samples=n),
                       run_config=tune.RunConfig(storage_path=str(tmp_path), name='study', verbose=0))
    found = tuner.fit()
    assert not found.errors
    return found


@pytest.mark.xdist_group('ray')
def test_ray_asha(ray_tune, tmp_path):
    from ray.tune.schedulers import ASHAScheduler
    scheduler = ASHAScheduler(time_attr='epoch', max_t=4, grace_period=1, reduction_factor=3)
    space = tuning.ray_space(dict(lr=('log', 1e-6, 3e-2), drop=(0., .5)))
    found = results(ray_tune, tmp_path, scheduler, space, 6, 4)
    epochs = [r.metrics['epoch'] for r in found]
    assert len(epochs) == 6 and max(epochs) == 4 and min(epochs) < 4, epochs
    best = found.get_best_result()
    again = tuning.Objective(ray_learner(), 4, metric='accuracy')(best.config)
    assert again == best.metrics['accuracy']                                  # a trial is the same, whoever runs it


@pytest.mark.xdist_group('ray')
def test_ray_population(ray_tune, tmp_path):
    "A rate with which nothing is learned: its trial goes on from the other one's weights, with another rate"
    from ray.tune.schedulers import PopulationBasedTraining
    scheduler = PopulationBasedTraining(time_attr='epoch', perturbation_interval=2, hyperparam_mutations=dict(lr=[1e-6, 1e-2]),
                                        quantile_fraction=.5, synch=True)
    found = results(ray_tune, tmp_path, scheduler, dict(lr=ray_tune.grid_search([1e-6, 1e-2]), drop=0.), 1, 4)
    ends = [(r.metrics['epoch'], r.metrics['accuracy']) for r in found]     # the file of `metrics_dataframe` may lack rows after a pause
    assert len(ends) == 2 and all(epoch == 4 and accuracy > .5 for epoch, accuracy in ends), ends
    alone = tuning.Objective(ray_learner(), 4, metric='accuracy')(dict(lr=1e-6, drop=0.))
    assert alone < .3
