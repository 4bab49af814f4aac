"""How large the rooms are: exported cells, modules, branches of functions, long lines, joined statements.

`python docs/house.py [FOLDER]` prints it of this checkout, or of another one. Orientation, not a fence: see CONTRIBUTING.
"""
import ast
import io
import json
import re
import sys
import tokenize
from pathlib import Path
from statistics import median, quantiles

BRANCHES = ast.If, ast.For, ast.While, ast.IfExp, ast.ExceptHandler, ast.BoolOp, ast.comprehension, ast.match_case


def sources(folder):
    "Exported modules"
    found = (folder/'fastai_recipes').rglob('*.py')
    return {p.relative_to(folder/'fastai_recipes').as_posix(): p.read_text(encoding='utf-8') for p in found
            if p.stem not in ('__init__', '_modidx', 'all')}


def exported(folder):
    "(notebook, id, code) of each exported cell but those of imports"
    for path in sorted((folder/'nbs').rglob('*.ipynb')):
        for c in json.loads(path.read_text(encoding='utf-8'))['cells']:
            text = ''.join(c['source'])
            if c['cell_type'] != 'code' or not re.match(r'#\| *export', text) or c['id'] == 'imports': continue
            yield path.stem, c['id'], re.sub(r'^#\|.*\n', '', text, flags=re.M).strip('\n')


def branches(func):
    "Of a function, without those of functions in it; `a and b and c` has two"
    n, todo = 0, list(ast.iter_child_nodes(func))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef): continue
        if isinstance(node, BRANCHES): n += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 1
        todo.extend(ast.iter_child_nodes(node))
    return n


def joined(text): return sum(t.type == tokenize.OP and t.string == ';' for t in tokenize.generate_tokens(io.StringIO(text).readline))


def main(folder):
    modules, cells = sources(folder), list(exported(folder))
    sizes = [len(o.splitlines()) for *_, o in cells]
    lines = [line for o in modules.values() for line in o.splitlines()]
    functions = {f'{m}: {f.name}': branches(f) for m, o in modules.items() for f in ast.walk(ast.parse(o))
                 if isinstance(f, ast.FunctionDef)}
    long = sum(len(o) > 120 for o in lines)
    print(f'exported cells {len(sizes)}, median {median(sizes):g} lines, p90 {quantiles(sizes, n=10)[-1]:.0f}')
    print('above 30 lines:', ', '.join(f'{nb}#{id} {n}' for (nb, id, _), n in zip(cells, sizes, strict=True) if n > 30))
    print(f'modules {len(modules)}, above 250 lines:', {k: n for k, o in modules.items() if (n := len(o.splitlines())) > 250})
    print('functions above 12 branches:', {k: n for k, n in functions.items() if n > 12})
    print(f'lines {len(lines)}, above 120 characters {long} ({long/len(lines):.1%})')
    print('statements joined by ";":', sum(map(joined, modules.values())))


if __name__ == '__main__': main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
