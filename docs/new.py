"""`make new NAME=centralization`: a stub of a callback's method card, registered wherever a callback must be.

It prints what remains to be written; until then tests fail and say so.
"""
import json
import keyword
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WRITE = 'WRITE:'     # marks what remains; no notebook that is committed has it


def cells(name, cls):
    "(kind, id, text) of the card, in the order that every card has"
    return [
        ('markdown', 'title', f'# {cls}\n\n> {WRITE} one sentence that says what it does.'),
        ('markdown', 'when', f'#| export\n**When to use it.** {WRITE} what a person sees who needs it, and a value to start with. '
                             f'**When not.** {WRITE} where it loses.'),
        ('markdown', 'use', f'#| export\n```python\nlearn.add_cb({cls}())\n```'),
        ('code', 'default', f'#| default_exp callbacks.{name}'),
        ('code', 'imports', '#| export\nimport torch\nfrom fastai.callback.core import Callback\n'
                            'from fastai.callback.fp16 import MixedPrecision\nfrom torch import Tensor\n\n'
                            'from fastai_recipes.core.fit import is_search'),
        ('code', 'test-imports', '#| hide\nfrom fastai.basics import *\nfrom fastai.callback.all import *\nfrom fastcore.test import *\n'
                                 'from nbdev.showdoc import show_doc\nfrom fastai_recipes.testing import digits_learner, quiet'),
        ('markdown', 'h-mathematics', f'## The mathematics\n\n{WRITE} five lines, with the paper and its names.'),
        ('code', 'function', f'#| export\n@torch.no_grad()\ndef {name}_(\n    grads:list[Tensor], # Changed in place\n):\n'
                             f'    "{WRITE} what it computes, for any PyTorch loop"\n    raise NotImplementedError'),
        ('code', 'test-function', f'# {WRITE} compare with an independent reference, in float64\n{name}_([torch.ones(2, 3)])'),
        ('markdown', 'h-callback', f'## The callback\n\n{WRITE} when it acts, and why at this order (the table is in CONTRIBUTING).'),
        ('code', 'callback', f'#| export\nclass {cls}(Callback):\n    "{WRITE} what it does to a training run"\n'
                             f'    order, run_valid = MixedPrecision.order + .6, False   # {WRITE} why there\n'
                             f'    def before_step(self):\n        if is_search(self.learn): return   # {WRITE} or shall it see it?\n'
                             f'        {name}_([p.grad for p in self.learn.model.parameters() if p.grad is not None])'),
        ('markdown', 'h-example', f'## On a Learner\n\n{WRITE} what goes wrong without it; then the same cell with it.'),
        ('code', 'example', f'learn = digits_learner(cbs={cls}())\nwith quiet(learn): learn.fit_one_cycle(2, 1e-2)\nlearn.final_record'),
        ('markdown', 'h-picture', f'## A picture\n\n{WRITE} a plot of what it does.'),
        ('markdown', 'h-signatures', '## Signatures'),
        ('code', 'doc', f'show_doc({cls})'),
        ('markdown', 'behaviour', '## How it behaves\n\n| with | behaviour | tested |\n|---|---|---|\n' + ''.join(
            f'| {o} | {WRITE} | |\n' for o in ('mixed precision', '`GradientAccumulation`', '`GradientClip`', '`MixUp`',
                                               'BatchNorm, frozen layers', 'several processes', '`lr_find`', 'save, load, export'))),
        ('markdown', 'cost', f'## Cost\n\n{WRITE} what a step costs, from `benchmarks/cost.csv`.'),
        ('markdown', 'results', f'## Results\n\n{WRITE} gains and losses, from `benchmarks/evidence.csv`.'),
        ('markdown', 'references', f'## References\n\n- {WRITE} authors: *title*, year'),
        ('markdown', 'proofs', f'## Proofs\n\n{WRITE} sweeps, refusals, every precision.'),
    ]


def notebook(name, cls):
    def cell(kind, id, text):
        more = dict(execution_count=None, outputs=[]) if kind == 'code' else {}
        return dict(cell_type=kind, id=id, metadata={}, **more, source=text.splitlines(keepends=True))
    kernel = dict(display_name='python3', language='python', name='python3')
    return dict(cells=[cell(*o) for o in cells(name, cls)], metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)


class Edits:
    "Changes of files, which are written all together: where one place is not found, nothing is"
    def __init__(self, root): self.root, self.texts = root, {}

    def text(self, path):
        if path not in self.texts: self.texts[path] = (self.root/path).read_text(encoding='utf-8')
        return self.texts[path]

    def line(self, path, before, line):
        "Put a line before the first one that fits a pattern"
        lines = self.text(path).split('\n')
        at = next((i for i, o in enumerate(lines) if re.match(before, o)), None)
        if at is None: sys.exit(f'{path}: no line fits {before!r}, so nothing was written; docs/new.py must say where {line!r} goes')
        self.texts[path] = '\n'.join([*lines[:at], line, *lines[at:]])

    def row(self, path, cell_id, row):
        "Put a row at the end of the table in a notebook's cell"
        nb = json.loads(self.text(path))
        cell = next(c for c in nb['cells'] if c['id'] == cell_id)
        lines = ''.join(cell['source']).split('\n')
        last = max(i for i, o in enumerate(lines) if o.startswith('|'))
        cell['source'] = '\n'.join([*lines[:last+1], row, *lines[last+1:]]).splitlines(keepends=True)
        self.notebook(path, nb)

    def notebook(self, path, nb): self.texts[path] = json.dumps(nb, indent=1, ensure_ascii=False) + '\n'

    def write(self):
        for path, text in self.texts.items(): (self.root/path).write_text(text, encoding='utf-8')


def check_name(name, cls, root):
    "A module and a class that do not exist yet, here or in a notebook's star imports"
    if not re.fullmatch(r'[a-z][a-z0-9_]*', name) or keyword.iskeyword(name):
        sys.exit(f'NAME is {name!r}; it must be a module name in small letters, e.g. centralization')
    found = [p.name for p in (root/'nbs').rglob('*.ipynb') if p.stem.split('_', 1)[-1] == name]
    if found: sys.exit(f'{found[0]} is there already')
    import fastai.callback.all
    import fastai.vision.all
    if hasattr(fastai.vision.all, cls) or hasattr(fastai.callback.all, cls): sys.exit(f'fastai has a {cls}; choose another NAME')


def new(name, root=ROOT):
    "Make and register the card; gives its path"
    cls = ''.join(o.capitalize() for o in name.split('_'))
    check_name(name, cls, root)
    number = max(int(p.name.split('_')[0]) for p in (root/'nbs'/'callbacks').glob('*.ipynb')) + 2
    path, module = f'nbs/callbacks/{number:02}_{name}.ipynb', f'from fastai_recipes.callbacks.{name} import {cls}'
    edits = Edits(root)
    edits.notebook(path, notebook(name, cls))
    edits.line('.github/CONTRIBUTING.md', r'\| 10\.7 \|', f'| 10.6 | `{cls}` | {WRITE} why there |')
    edits.line('fastai_recipes/all.py', r'from fastai_recipes\.recipes', module)
    edits.row('nbs/index.ipynb', 'table', f'| `{cls}()` | {WRITE} what it does | | ready |')
    edits.row('nbs/guides/names.ipynb', 'papers', f'| {WRITE} authors, year, *title* | [{cls}()](../callbacks/{Path(path).name}) |')
    edits.line('tests/test_composition.py', r"    'fp16': dict\(", f"    '{cls}': dict(cbs={cls}, ref=dict({name}=True)),")
    edits.line('tests/test_composition.py', r'from fastai_recipes\.core import', module)
    edits.line('benchmarks/cost.py', r'from fastai_recipes\.core import', module)
    edits.line('benchmarks/cost.py', r'# Peers that cannot be beside us', f'MORE[{cls!r}] = {cls}')
    edits.write()
    return root/path


REMAINS = """Made {path}, and registered {cls} in fastai_recipes/all.py, README's table (nbs/index.ipynb), the matrix of
combinations (tests/test_composition.py), the costs (benchmarks/cost.py), the guide nbs/guides/names.ipynb and the table
of orders (.github/CONTRIBUTING.md).

What remains to be written:
1. the card: every place marked "WRITE:"; the pure function first, then the callback (CONTRIBUTING: which base, which order);
   if it changes gradients, `bs_find` leaves it out: _LEFT_OUT of nbs/recipes/12_noise_scale.ipynb
2. tests/reference.py: the trick `{name}` in the plain PyTorch loop, from the paper, without anything of this package
3. `.venv/bin/python docs/run_notebooks.py {name}`, `make export`, then `.venv/bin/python -m pytest tests/test_composition.py -k {cls}`;
   `.venv/bin/python tests/test_composition.py` writes the page of the matrix
4. results over seeds: a setup in benchmarks/evidence.py, whose card is {name}, and a cell `gain-table` in the card (as in
   nbs/callbacks/10_sam.ipynb); `make bench` measures both, `make cards` brings the rows into the cards
5. CHANGELOG.md; `make test`"""


if __name__ == '__main__':
    if len(sys.argv) != 2 or not sys.argv[1]: sys.exit('usage: make new NAME=centralization')
    made = new(sys.argv[1])
    print(REMAINS.format(path=made.relative_to(ROOT), name=sys.argv[1], cls=''.join(o.capitalize() for o in sys.argv[1].split('_'))))
