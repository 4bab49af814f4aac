"""Runs notebooks with nbdev's runner and stores their outputs, without progress bars and warnings.

Each runs in a process of its own: what one of them gives to `Learner` would be there for the next.
`python docs/run_notebooks.py [NAME ...]`, where a name is a part of the file's path, e.g. `sam`, `core/`; all if none is given.
"""
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from fastcore.nbio import read_nb, write_nb
from nbdev.test import test_nb

ROOT = Path(__file__).resolve().parents[1]
BAR = '█', '|---'


def keep(output):
    "Is this stored output worth showing? Progress bars, and what goes to stderr, are not"
    if output['output_type'] != 'stream': return True
    return output['name'] != 'stderr' and not any(o in ''.join(output['text']) for o in BAR)


def run(path):
    "Run a notebook; on success its outputs are stored"
    ok, _ = test_nb(path, skip_flags=['cuda', 'slow'], basepath=ROOT, save=True)
    if not ok: return False
    nb = read_nb(path)
    for cell in nb.cells:
        if cell.cell_type == 'code': cell.outputs = [o for o in cell.outputs if keep(o)]
    write_nb(nb, path)
    return True


def apart(path):
    "'spawn' would be the way of its DataLoaders, too"
    with ProcessPoolExecutor(1, multiprocessing.get_context('fork')) as pool: return pool.submit(run, path).result()


def main(names):
    paths = [p for p in sorted((ROOT/'nbs').rglob('*.ipynb')) if not names or any(n in p.relative_to(ROOT/'nbs').as_posix() for n in names)]
    failed = [p.relative_to(ROOT/'nbs').as_posix() for p in paths if not apart(p)]
    if failed: sys.exit(f"failed: {', '.join(failed)}")


if __name__ == '__main__': main(sys.argv[1:])
