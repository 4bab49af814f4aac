"Studies by several processes, some of which are killed; Ray Tune."
import itertools
import json
import random
import threading
import time
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import optuna
import pytest
import tuning_worker as worker
from optuna.trial import TrialState

from fastai_recipes.recipes import ray, samplers, search_space, study, trial, tuning, workers

TIMEOUT = 600      # seconds, on a busy machine
SLOW = .5          # seconds before an epoch of a process that is killed before all is done


def wait_for(n, storage):
    "Until `n` trials have begun"
    until = time.time() + TIMEOUT
    while len(worker.trials(storage)) < n:
        assert time.time() < until
        time.sleep(.02)


def check(storage, n_trials):
    "As many results as wanted; no point that was broken off or that belongs to the first ones is lost, and none has two results"
    found = worker.trials(storage)
    outcome = worker.outcome(found)
    assert outcome['lost'] == outcome['doubled'] == 0 and outcome['results'] == n_trials, outcome
    assert not [t for t in found if t.state == TrialState.RUNNING]
    assert all(t.user_attrs['epochs'] == 2 for t in found if t.state == TrialState.COMPLETE)
    return outcome


def stored(kind, folder): return f'sqlite:///{folder}/study.db' if kind == 'sqlite' else str(folder/'study.journal')


@pytest.mark.parametrize('kind', ['journal', 'sqlite'])
def test_killed_again_and_again(tmp_path, kind):
    storage, rng = stored(kind, tmp_path), random.Random(0)
    for _ in range(4):
        process = worker.start(storage, 10, SLOW)
        wait_for(len(worker.trials(storage)) + 1, storage)
        time.sleep(rng.random()*.5)
        process.kill()
        process.join()
    last = worker.start(storage, 10)
    last.join(TIMEOUT)
    assert last.exitcode == 0
    assert check(storage, 10)['broken'] >= 2          # some were killed in the middle of a trial


@pytest.mark.parametrize('kind', ['journal', 'sqlite', 'grpc'])
def test_four_processes_one_killed(tmp_path, kind):
    storage = stored(kind, tmp_path)
    if kind == 'grpc':
        port = worker.free_port()
        server = worker.start(storage, port, target=worker.serve)
        storage = f'grpc://localhost:{port}'
        tuning._storage(storage).wait_server_ready(timeout=TIMEOUT)
    processes = [worker.start(storage, 16, SLOW)]
    wait_for(1, storage)                 # so that the one that is killed has taken part
    processes += [worker.start(storage, 16) for _ in range(3)]
    wait_for(6, storage)
    processes[0].kill()
    for p in processes: p.join(TIMEOUT)
    assert [p.exitcode for p in processes] == [-9, 0, 0, 0]
    check(storage, 16)
    assert len({t.user_attrs['worker'] for t in worker.trials(storage) if 'worker' in t.user_attrs}) >= 2   # it may die unsigned
    if kind == 'grpc':
        server.kill()
        server.join()


class Killed(BaseException): "Nothing is written after it"


class Turns:
    "Threads as processes, of which one runs at a time: before each look into the storage another may continue, or one be struck"
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
        for steps in itertools.count():
            if not self.waiting: return
            assert steps < 10_000, 'no end'
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
    rng, storage, found = random.Random(seed), InTurns(), search_space.space_ranges(worker.SPACE)
    ranges, n_trials = samplers.optuna_distributions(found), rng.randint(3, 12)
    plan = [dict(lr=.5, wd=.25, act='relu'), dict(lr=.03)][:rng.randint(0, 2)]
    class Objective:
        metric = 'x'
        def __call__(self, config, report):
            turns.step()
            return config.lr + config.wd + len(config.act)
    def work():
        shared = optuna.load_study(study_name='shared', storage=storage, sampler=samplers.optuna_sampler('random', ranges, 0, 42))
        workers.queue_plan(shared, plan)
        for _ in workers.run_trials(shared, tuning._runner(Objective(), found, ranges), n_trials): pass
    turns = Turns(rng, work)
    storage.step, storage.here = turns.step, turns.here
    monkeypatch.setattr(workers, '_is_dead', lambda t: storage.owners[t._trial_id] not in turns.waiting or rng.random() < mistaken)
    monkeypatch.setattr(workers, '_heartbeat', lambda t: nullcontext())
    monkeypatch.setattr(workers, 'time', SimpleNamespace(time=time.time, sleep=turns.step))
    with study.quiet_optuna():
        shared = optuna.create_study(study_name='shared', storage=storage)
        turns.run(rng.randint(1, 4), rng.randint(0, 4))
    assert not turns.errors, (seed, turns.errors)
    failed = shared.get_trials(states=[TrialState.FAIL])
    broken = {tuple(t.params.values()) for t in failed if len(t.params) == len(ranges)}
    return n_trials, plan, shared.get_trials(states=[TrialState.COMPLETE]), broken


def results_of(done):
    "How many results has each point?"
    return Counter(tuple(t.params.values()) for t in done)


@pytest.mark.parametrize('seeds', [range(300), pytest.param(range(300, 6000), marks=pytest.mark.slow)], ids=['some', 'many'])
def test_any_order(seeds, monkeypatch):
    "No point is lost and none has two results, whoever does what when; nor are there more results than wanted"
    for seed in seeds:
        n_trials, plan, done, broken = in_some_order(seed, monkeypatch)
        results, planned = results_of(done), Counter(t.user_attrs.get('point') for t in done)
        assert broken <= set(results), (seed, n_trials, results, broken)
        assert max(results.values()) == 1 and results.total() == n_trials, (seed, n_trials, results)
        assert all(planned[json.dumps(o, sort_keys=True)] == 1 for o in plan), (seed, plan, planned)


def test_taken_for_dead(monkeypatch):
    "A process whose trial was given to another, since its clock or its network failed, continues with the next one"
    for seed in range(100):
        n_trials, _, done, _ = in_some_order(seed, monkeypatch, .02)
        results = results_of(done)
        assert results.total() >= n_trials and max(results.values()) == 1, (seed, results)


def without_requeue(monkeypatch): monkeypatch.setattr(workers, '_lost_trials', lambda shared: [])
def without_surplus(monkeypatch): monkeypatch.setattr(workers, '_is_surplus', lambda *_: False)


@pytest.mark.parametrize('fault', [without_requeue, without_surplus], ids=lambda f: f.__name__)
def test_a_fault_is_seen(fault, monkeypatch):
    "Without a part of the bookkeeping the same orders lose points, give some of them two results, or do not end"
    fault(monkeypatch)
    with pytest.raises(AssertionError): test_any_order(range(100), monkeypatch)


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
    tuner = tune.Tuner(ray.ray_trainable(ray_learner(), epochs, metric='accuracy'), param_space=space,
                       tune_config=tune.TuneConfig(metric='accuracy', mode='max', scheduler=scheduler, num_samples=n),
                       run_config=tune.RunConfig(storage_path=str(tmp_path), name='study', verbose=0))
    found = tuner.fit()
    assert not found.errors
    return found


@pytest.mark.xdist_group('ray')
def test_ray_asha(ray_tune, tmp_path):
    from ray.tune.schedulers import ASHAScheduler
    scheduler = ASHAScheduler(time_attr='epoch', max_t=4, grace_period=1, reduction_factor=3)
    space = ray.ray_space(dict(lr=('log', 1e-6, 3e-2), drop=(0., .5)))
    found = results(ray_tune, tmp_path, scheduler, space, 6, 4)
    epochs = [r.metrics['epoch'] for r in found]
    assert len(epochs) == 6 and max(epochs) == 4 and min(epochs) < 4, epochs
    best = found.get_best_result()
    again = trial.Objective(ray_learner(), 4, metric='accuracy')(best.config)
    assert again == best.metrics['accuracy']                                  # a trial is the same, whoever runs it


@pytest.mark.xdist_group('ray')
def test_ray_population(ray_tune, tmp_path):
    "A rate with which nothing is learned: its trial continues from the other one's weights, with another rate"
    from ray.tune.schedulers import PopulationBasedTraining
    scheduler = PopulationBasedTraining(time_attr='epoch', perturbation_interval=2, hyperparam_mutations=dict(lr=[1e-6, 1e-2]),
                                        quantile_fraction=.5, synch=True)
    found = results(ray_tune, tmp_path, scheduler, dict(lr=ray_tune.grid_search([1e-6, 1e-2]), drop=0.), 1, 4)
    ends = [(r.metrics['epoch'], r.metrics['accuracy']) for r in found]     # the file of `metrics_dataframe` may lack rows after a pause
    assert len(ends) == 2 and all(epoch == 4 and accuracy > .5 for epoch, accuracy in ends), ends
    alone = trial.Objective(ray_learner(), 4, metric='accuracy')(dict(lr=1e-6, drop=0.))
    assert alone < .3
