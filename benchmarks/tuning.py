"""What pruning saves: the same search with each pruner, on scikit-learn's digits, over seeds.

A study of 20 trials of 9 epochs, with the net, the data and the ranges of `tune` in evidence.py. The seed decides the split, the points
that are tried first and the initial weights; the pruners of a seed share all three. Then the best settings train on the whole training
set, and are judged on the test set. Writes tuning.csv and tuning_machine.csv beside this file.
"""
import contextlib
import io
import warnings

import pandas as pd

from common import Results, machine, parser, pool_of
from evidence import GENERAL, PACKAGES, Run, at_best, begin, scores, searched

PRUNERS = 'none', 'asha', 'hyperband', 'median'


def work(job):
    pruner, seed, n_trials, epochs = job
    run = Run(GENERAL['digits'], seed, None, epochs)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        study = searched(run, n_trials, pruner=None if pruner == 'none' else pruner)
        accuracy, _ = scores(run, at_best(run, study))
    ended = study.frame['ended']
    return dict(pruner=pruner, seed=seed, trials=len(ended), completed=(ended == 'completed').sum(), epochs=int(study.frame['epochs'].sum()), accuracy=accuracy)


def main():
    p = parser(__doc__, 'pruners', PRUNERS)
    p.add_argument('--seeds', type=int, default=5)
    p.add_argument('--processes', type=int, default=2)
    args = p.parse_args()
    if args.seeds < 2: p.error('at least 2 seeds are needed, for a standard error')
    begin()
    results = Results(args, 'tuning', 'pruner', machine([*PACKAGES, 'optuna']) | dict(processes=str(args.processes), seeds=str(args.seeds)), args.pruners)
    chosen = list(dict.fromkeys(['none', *(args.pruners or PRUNERS)]))
    jobs = [(o, seed, 4 if args.quick else 20, 3 if args.quick else 9) for seed in range(args.seeds) for o in chosen]
    with pool_of(args.processes, begin) as pool: runs = pd.DataFrame(pool.imap_unordered(work, jobs, chunksize=1))
    by = runs.pivot(index='seed', columns='pruner')
    frame = pd.DataFrame([dict(pruner=o, studies=args.seeds, trials=by['trials', o].mean(), completed=by['completed', o].mean(), epochs=by['epochs', o].mean(),
                               saved=(1 - by['epochs', o]/by['epochs', 'none']).mean(), accuracy=by['accuracy', o].mean(), accuracy_se=by['accuracy', o].sem(),
                               gain=(by['accuracy', o] - by['accuracy', 'none']).mean(), gain_se=(by['accuracy', o] - by['accuracy', 'none']).sem()) for o in chosen])
    results.store(frame.round(3))
    print(frame.round(3).to_string())


if __name__ == '__main__': main()
