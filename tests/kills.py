"""Kills workers of a search at random moments, and counts points that are lost and points that have two results.

`python tests/kills.py [ROUNDS]`: in each round two processes share a study of 12 trials; one of them is killed at a random moment and
replaced, three times. On a journal file and on SQLite.
"""
import random
import sys
import tempfile
import time

import tuning_worker as worker
from fastai_recipes.recipes import workers

N_TRIALS, KILLS = 12, 3


def one_round(storage, rng):
    "What `worker.outcome` says after a round, and how many were killed at work"
    processes, kills = [worker.start(storage, N_TRIALS) for _ in range(2)], 0
    for _ in range(KILLS):
        n = len(worker.trials(storage))
        while len(worker.trials(storage)) <= n and any(p.is_alive() for p in processes): time.sleep(.02)
        time.sleep(rng.random()*.4)
        victim = rng.randrange(2)
        kills += processes[victim].is_alive()
        processes[victim].kill()
        processes[victim].join()
        processes[victim] = worker.start(storage, N_TRIALS)
    for p in processes: p.join()
    assert all(p.exitcode == 0 for p in processes)
    return dict(kills=kills, **worker.outcome(worker.trials(storage)))


def main(rounds):
    print(f'measures {workers.__file__}')
    rng = random.Random(0)
    for kind in ('journal', 'sqlite'):
        total = dict.fromkeys(('kills', 'results', 'broken', 'lost', 'doubled'), 0)
        for i in range(rounds):
            with tempfile.TemporaryDirectory() as d:
                found = one_round(f'{d}/study' if kind == 'journal' else f'sqlite:///{d}/study.db', rng)
            total = {k: n + found[k] for k, n in total.items()}
            print(kind, i, found, flush=True)
        print(f'{kind}: {rounds} rounds, {total}, wanted {rounds*N_TRIALS} results', flush=True)


if __name__ == '__main__': main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
