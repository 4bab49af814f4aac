"What `show_doc` gives, a signature with comments, as a short signature and a table."
import ast
import re
from textwrap import fill

LINE = re.compile(r'(.*?)(?:(?<=[,:]) # (.*))?$')            # code, and the comment that documents it


def cell(text): return text.replace('|', r'\|')


def code(text): return f'`{cell(text)}`' if text else ''


def parameters(args):
    "(name, argument, default) of each parameter, in the order of the signature; a lone star has no argument"
    plain = args.posonlyargs + args.args
    yield from zip([o.arg for o in plain], plain, [None]*(len(plain) - len(args.defaults)) + args.defaults, strict=True)
    if args.vararg: yield f'*{args.vararg.arg}', args.vararg, None
    elif args.kwonlyargs: yield '*', None, None
    yield from zip([o.arg for o in args.kwonlyargs], args.kwonlyargs, args.kw_defaults, strict=True)
    if args.kwarg: yield f'**{args.kwarg.arg}', args.kwarg, None


def table(rows):
    if not rows: return ''
    head = '| parameter | type | default | meaning |', '|---|---|---|---|'
    return '\n'.join([':::{container} api', *head, *map('| {} |'.format, rows), ':::'])


def api(text):
    "The markdown of one `show_doc`; as it is where no signature can be read"
    found = re.search(r'```python\ndef ([\w.]+)(.*?)```', text, re.S)
    if not found: return text
    lines, comments = zip(*(LINE.fullmatch(o).groups(default='') for o in found[2].strip().split('\n')), strict=True)
    try: func = ast.parse('\n'.join(['def f' + lines[0], *lines[1:]]) + ' pass').body[0]
    except SyntaxError: return text
    short, rows = [], []
    for name, arg, default in parameters(func.args):
        default = ast.unparse(default) if default else ''
        short.append(f'{name}={default}' if default else name)
        kind = ast.unparse(arg.annotation).replace('NoneType', '') if arg and arg.annotation else ''
        if arg and (kind or comments[arg.lineno-1]):
            rows.append(' | '.join([code(name), code(kind), code(default), cell(comments[arg.lineno-1])]))
    gives = ast.unparse(func.returns).replace('NoneType', 'None') if func.returns else ''
    if gives or comments[-1]: rows.append(f'*returns* | {code(gives)} | | {cell(comments[-1])}')
    head = fill(f'{found[1]}({", ".join(short)})', 88, subsequent_indent='    ', break_long_words=False, break_on_hyphens=False)
    before, after = text[:found.start()].removeprefix('---\n'), text[found.end():].strip()
    after = re.sub(r'\A\*(.*)\*\Z', r'\1', after, flags=re.S)
    if link := re.search(r'(\[source\]\(\S+?\))\{.*?\}', before):
        before, after = before.replace(link[0], ''), f'{link[1]}{{.source-link}} {after}'
    return '\n\n'.join([before.strip(), f'```python\n{head}\n```', after, table(rows)])
