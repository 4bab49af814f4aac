"""`make docs`: the notebooks as a site, without Quarto.

nbdev processes the notebooks as it does for Quarto; here its pages are translated to what Sphinx and myst-nb read, and
Sphinx makes the site, with warnings as errors. `nbdev-docs` makes the same pages where Quarto is installed.
`python docs/build.py [FOLDER]`, where the site goes; _docs if none is given.
"""
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from shutil import copy2, move, rmtree

import yaml
from nbdev.config import get_config, nbpath2html
from nbdev.serve import proc_nbs
from sphinx.cmd.build import main as sphinx

from api import api

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r'(^ *```.*?^ *``` *$)', re.M | re.S)
LINK = re.compile(r'\]\(([^()\s]+)\)(?:\{target[^}]*\})?')
CALLOUT = re.compile(r'::: *\{\.callout-(note|tip|warning|important|caution)(?:.* title="([^"]*)")?.*\}')
LANGUAGE = dict(name='python', pygments_lexer='python')


def md_cell(text): return dict(cell_type='markdown', metadata={}, source=text)


def front_matter(text):
    "Facts, and the rest, of a text that may begin with facts between two lines of ---"
    found = re.match(r'---\n(.*?)\n---\s*(?:\n|$)', text, re.S)
    return (yaml.safe_load(found[1]), text[found.end():]) if found else ({}, text)


def callouts(text):
    "Quarto's callouts as admonitions, and what stands in two columns"
    def begin(m): return f':::{{admonition}} {m[2]}\n:class: {m[1]}' if m[2] else f':::{{{m[1]}}}'
    return CALLOUT.sub(begin, text).replace('::: {layout-ncol=2}', ':::{container} columns')


class Site:
    "The pages that nbdev has processed, translated"
    def __init__(self, proc, cfg):
        self.proc, self.url = proc, (cfg.doc_host + cfg.doc_baseurl).rstrip('/') + '/'
        self.repo = f'{cfg.git_url}/blob/{cfg.branch}/{cfg.nbs_path.name}/'
        sources = sorted(o.relative_to(proc) for o in proc.rglob('*') if o.suffix in ('.ipynb', '.md'))
        self.names = {o: nbpath2html(o).with_suffix('') for o in sources}            # 10_sam.ipynb: sam
        self.files = {n.with_suffix(o.suffix): o for o, n in self.names.items()}     # sam.ipynb: 10_sam.ipynb
        assert len(self.files) == len(sources), f'two pages have one name: {sources}'

    def target(self, link, src):
        "Links to pages, by the name of the notebook or of the page, as Sphinx resolves and checks them; others as they are"
        on_site = link.startswith(self.url)
        path, hash, anchor = link.removeprefix(self.url).partition('#')
        if not path or ':' in path: return link
        path = Path(os.path.normpath(path if on_site else src.parent/path))
        found = [n for o, n in self.names.items() if path in (o, n.with_suffix('.html'))]
        return f'/{found[0].with_suffix(self.source(found[0]).suffix)}{hash}{anchor}' if found else link

    def source(self, name): return next(o for o, n in self.names.items() if n == name)

    def markdown(self, text, src):
        "Quarto's markdown as MyST's; what stands in fences is left alone"
        def part(text): return callouts(LINK.sub(lambda m: f']({self.target(m[1], src)})', text))
        text = re.sub(r'\A(#\|.*\n)+', '', text)
        return ''.join(o if i % 2 else part(o) for i, o in enumerate(FENCE.split(text)))

    def heading(self, facts, src):
        lead = [f'*{facts["description"]}*'] if 'description' in facts else []
        return '\n\n'.join([f'# {facts["title"]}', f'[source]({self.repo}{src}){{.source-link}}', *lead])

    def notebook(self, src):
        "A processed notebook as one that myst-nb reads"
        facts, cells = {}, []
        for o in json.loads((self.proc/src).read_text(encoding='utf-8'))['cells']:
            text = ''.join(o['source'])
            if o['cell_type'] == 'raw': facts |= front_matter(text)[0]
            elif o['cell_type'] == 'markdown': cells.append(md_cell(self.markdown(text, src)))
            else: cells.extend(self.code_cell(o, src))
        if 'title' in facts: cells.insert(0, md_cell(self.heading(facts, src)))
        if src.name == 'index.ipynb': cells.append(md_cell(self.navigation()))
        return json.dumps(dict(cells=cells, metadata=dict(language_info=LANGUAGE), nbformat=4, nbformat_minor=4))

    def code_cell(self, o, src):
        "A code cell as its directives want it: shown, without its code or its output, or replaced by what it gave; tests are folded"
        lines = ''.join(o['source']).split('\n')
        options = dict(re.match(r'#\| *([\w-]+):? *(.*)', line).groups() for line in lines if line.startswith('#|'))
        if options.get('include') == 'false': return
        outputs = o.get('outputs', [])
        for out in outputs:
            if 'text/markdown' in out.get('data', {}):
                text = ''.join(out['data']['text/markdown'])
                out['data'] = {'text/markdown': self.markdown(api(text), src)}
        given = []
        if options.get('output') == 'asis':
            given = [md_cell(out['data']['text/markdown'] if 'data' in out else ''.join(out['text'])) for out in outputs]
            outputs = []
        tags = [f'remove-{tag}' for tag, option in (('input', 'echo'), ('output', 'output')) if options.get(option) == 'false']
        if o.get('id', '').startswith('test-') or options.get('code-fold') == 'true': tags.append('hide-input')
        source = '\n'.join(line for line in lines if not line.startswith('#|')).strip('\n')
        if not (given and options.get('echo') == 'false'):
            yield dict(cell_type='code', metadata=dict(tags=tags), source=source, outputs=outputs, execution_count=None)
        yield from given

    def navigation(self):
        "The sections of sidebar.yml; a page that stands in none is a warning"
        contents = yaml.safe_load((self.proc/'sidebar.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
        trees = []
        for section in contents[1:]:                                                 # the first is the start page
            patterns = section['contents'] if isinstance(section['contents'], list) else [section['contents']]
            found = [p.relative_to(self.proc) for o in patterns for p in sorted(self.proc.glob(o))]
            names = [f'/{self.names[o]}' for o in dict.fromkeys(found) if o in self.names]
            if names: trees.append('\n'.join(['```{toctree}', ':hidden:', f':caption: {section["section"]}', '', *names, '```']))
        return '\n\n'.join(trees)

    def write(self, folder):
        for src, name in self.names.items():
            if src.suffix == '.ipynb': text = self.notebook(src)
            else:
                facts, text = front_matter((self.proc/src).read_text(encoding='utf-8'))
                text = (self.heading(facts, src) + '\n\n' if 'title' in facts else '') + self.markdown(text, src)
            path = folder/name.with_suffix(src.suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding='utf-8')
        for path in self.proc.rglob('*'):
            if path.suffix not in ('.png', '.jpg', '.svg', '.gif'): continue
            to = folder/path.relative_to(self.proc)
            to.parent.mkdir(parents=True, exist_ok=True)
            copy2(path, to)


def build(out):
    "The site in the folder `out`; Sphinx's status, 0 if nothing was amiss"
    if out.exists() and any(out.iterdir()) and not (out/'searchindex.js').exists():
        sys.exit(f'{out} holds something else than a site; it is left as it is')
    os.chdir(ROOT)
    os.environ['PYTHONWARNINGS'] = 'ignore::UserWarning:nbdev.processors'   # hidden cells import and set a filter: both are meant to run
    proc = proc_nbs()
    with tempfile.TemporaryDirectory() as tmp:
        Site(proc, get_config()).write(Path(tmp)/'src')
        folders = ['-c', str(ROOT/'docs'), '-d', f'{tmp}/trees', f'{tmp}/src', f'{tmp}/site']
        status = sphinx(['-W', '--keep-going', '-q', '-j', 'auto', *folders])
        if status: return status
        rmtree(out, ignore_errors=True)
        move(f'{tmp}/site', out)
    return 0


if __name__ == '__main__': sys.exit(build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT/'_docs').resolve()))
