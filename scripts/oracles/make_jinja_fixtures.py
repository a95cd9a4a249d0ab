#!/usr/bin/env python3
"""Writes small chat templates with the texts that Jinja renders, in the environment that `transformers` makes of it.

    pip install jinja2
    scripts/oracles/make_jinja_fixtures.py crates/policy/tests/fixtures/jinja.json

Each snippet uses one feature of Jinja or one method of Python's strings, lists and dictionaries that a chat template may
use. Snippets that Jinja refuses have the text `null`.
"""

import json
import sys

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


VARIABLES = {
    "messages": [{"role": "user", "content": "Hé 'there' \"you\""}, {"role": "assistant", "content": "x=1, y=2"}],
    "tools": None,
    "data": {"b": 2, "a": [1, 2.5, None, True], "deep": {"k": "v & <w>"}, "t": 1e-07, "e": {}, "l": []},
    "text": "The quick brown fox",
    "n": 7,
    "f": 2.5,
    "words": ["delta", "alpha", "Charlie", "bravo"],
    "fmt": "%s=%s",
    "bos_token": "<s>",
}

FLOATS = ["1e-7", "1.5e-10", "1e16", "1e15", "123456789.123", "0.1", "1.0", "-0.0", "1e22", "1e100", "0.0001", "0.00001", "2.0e5",
          "1234567890123456.0", "12345678901234567.0", "5e-324", "3.14"]

STRINGS = [
    "partition('k')", "partition('zz')", "rpartition('o')", "rpartition('zz')", "rsplit()", "rsplit(' ', 1)", "rsplit(None, 2)",
    "split(maxsplit=1)", "rsplit(sep=' ', maxsplit=1)", "removeprefix('The ')", "removeprefix('x')", "removesuffix('fox')",
    "removesuffix('x')", "zfill(25)", "index('quick')", "rindex('o')", "find('z')", "rfind('o')", "find('o', 14)", "swapcase()",
    "casefold()", "center(25)", "center(26, '*')", "ljust(25, '.')", "rjust(25, '.')", "expandtabs()", "isalpha()", "isspace()",
    "istitle()", "isidentifier()", "isprintable()", "isdecimal()", "isalnum()", "isascii()", "islower()", "isupper()",
    "startswith(('a', 'The'))", "endswith(('x', 'z'))", "startswith('quick', 4)", "endswith('quick', 0, 9)", "count('o')",
    "count('o', 13)", "replace('o', '0', 1)", "strip('Tx')", "lstrip('Teh ')", "rstrip('xof')", "title()", "capitalize()",
    "splitlines()", "format(1)", "translate({84: 'D'})", "upper().lower()", "join(['a', 'b'])", "split('q')[1]",
    "split()[-1]", "split(' ', 2)", "replace(' ', '')", "find('quick', 0, 5)", "isnumeric()", "isdigit()",
]

SNIPPETS = [
    *(f"{{{{ {x} }}}}|{{{{ [{x}] }}}}|{{{{ {x}|tojson }}}}|{{{{ {x}|string }}}}" for x in FLOATS),
    *(f"{{{{ text.{call} }}}}" for call in STRINGS),
    "{{ messages|tojson(separators=(',', ':')) }}",
    "{{ data|tojson(separators=(', ', ' = ')) }}",
    "{{ data|tojson(indent=2, separators=(',', ': ')) }}",
    "{{ data|tojson(indent=1, sort_keys=true) }}",
    "{{ data|tojson(indent=0) }}",
    "{{ data|tojson(indent='--') }}",
    "{{ data|tojson(indent=none, sort_keys=True) }}",
    "{{ messages|tojson(ensure_ascii=True) }}",
    "{{ messages|tojson(True) }}",
    "{{ messages|tojson(false, 2) }}",
    "{{ 'é😀\\u2028\\x7f\\n\\t\\x08\\x0c\\x01\"\\\\'|tojson }}",
    "{{ 'é😀\\u2028\\x7f'|tojson(ensure_ascii=true) }}",
    "{{ (1, 'a')|tojson }}{{ [(1, 2)]|tojson }}{{ {1: 2, true: 3, none: 4, 1.5: 5}|tojson }}",
    "{{ data['a']|tojson }} {{ none|tojson }} {{ true|tojson }} {{ 'a'|tojson }} {{ 1|tojson }}",
    "{{ range(3)|list|tojson }} {{ data.keys()|list|tojson }} {{ data.items()|list|tojson }}",
    "{{ '%s-%03d' % ('a', 5) }}",
    "{{ '%s' % text }} {{ '%5.2f|%-6s|%+d|%x|%X|%o|%e|%g|%r|%c|%%' % (f, 'ab', n, 255, 255, 8, 12345.678, 0.0001, 'q', 'z') }}",
    "{{ fmt % ('a', n) }} {{ n % 4 }} {{ -7 % 3 }} {{ 7.5 % 2 }} {{ 2 * 9 % 4 }} {{ (fmt ~ '!') % (1, 2) }}",
    "{{ '%(role)s says %(content)s' % messages[0] }}",
    "{{ '%s' % n ~ '!' }} {{ '%d' % n|string }} {{ '%s, %s' % (messages[0].role, messages[1]['role']) }}",
    "{{ '%s' % [1, 2] }} {{ '%s' % {'a': 1} }} {{ '%s' % none }} {{ '%s' % true }} {{ '%d%%' % 50 }} {{ '%05.1f' % 3.14159 }}",
    "{% for i in range(4) %}{% if loop.index0 % 2 == 0 %}e{% else %}o{% endif %}{{ '%02d' % i }}{% endfor %}",
    "{% set x = '%s' % text.split()[0].upper() %}{{ x }}{% if n % 2 %}odd{% endif %}",
    "{{ 'a%sb' % 'c' + 'd' }} {{ 'x' + '%s' % 'c' }} {{ '%s' % (n + 1) }} {{ '%s' % -n }} {{ ['%d' % 3, '%d' % 4] }}",
    "{{ '{%s}' % 'x' }} {{ \"%s's\" % 'x' }} {{ 'a\\'%s' % 'x' }}",
    "{{ '%s %s' % ('only',) }}",
    "{{ '%q' % 1 }}",
    "{{ ('a', 'b') }} {{ ('a',) }} {{ () }} {{ [('a', 1)] }} {{ {'k': (1, 2)} }} {{ (1, (2, 3))[1] }} {{ ('a', 'b') ~ '' }}",
    "{{ data.items()|list }} {{ 'a=b'.partition('=') }} {{ ('a', 'b')|string }} {{ ('a', 'b')|list }} {{ (1, 2) + (3,) }} {{ (1,2) == [1,2] }}",
    "{{ (1, 2, 3)[1:] }} {{ [1, 2, 3][::-1] }} {{ 'abc'[::-1] }} {{ (1, 2)|length }} {{ 1 in (1, 2) }} {{ (2, 1)|sort }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t }}{% for k, v in {'x': 1}.items() %}{{ k }}{{ v }}{% endfor %}",
    "{% set c = cycler('odd', 'even') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}",
    "{% set j = joiner(', ') %}{% for w in words %}{{ j() }}{{ w }}{% endfor %}{% set k = joiner() %}{{ k() }}{{ k() }}",
    "{% macro f(a) %}{{ a }}:{{ varargs|join('+') }}{% endmacro %}{{ f(1, 2, 3) }} {{ f(1) }}",
    "{% macro f() -%}\n  {{ varargs|length }}\n{%- endmacro %}[{{ f('a', 'b') }}]",
    "{% macro f(a, b='x') %}\n{{ a }}{{ b }}{% for v in varargs %};{{ v }}{% endfor %}\n{% endmacro %}{{ f(1, 2, 3, 4) }}{{ f(1) }}",
    "{% macro f(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller is defined }}{% endmacro %}{% call f(1) %}in{% endcall %}{{ f(1, b=3) }}",
    "{% macro f(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ f() }} {{ f(1) }} {{ f.name }}",
    "{{ 'a' is sequence }} {{ [] is sequence }} {{ {} is sequence }} {{ 1 is sequence }} {{ none is sequence }} {{ () is sequence }} {{ range(2) is sequence }}",
    "{{ 'a' is iterable }} {{ 1 is iterable }} {{ {} is iterable }} {{ none is iterable }} {{ 'a' is mapping }} {{ {} is mapping }}",
    "{{ 1 is number }} {{ 1.5 is number }} {{ true is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ 1 is boolean }}",
    "{{ true is true }} {{ 1 is true }} {{ false is false }} {{ none is none }} {{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(3) }}",
    "{{ missing is defined }} {{ missing is undefined }} {{ missing|default('d') }} {{ ''|default('d', true) }} {{ none|default('d') }} {{ missing or 'x' }} [{{ missing }}]",
    "{{ 'abc' is in 'xabcx' }} {{ 1 is in [1] }} {{ 'a' in 'abc' }} {{ 'k' not in {'k': 1} }} {{ 'A' is lower }} {{ 'A' is upper }} {{ text is string }} {{ f is callable }} {{ range is callable }}",
    "{{ 1 is eq 1 }} {{ 2 is gt 1 }} {{ 1 is sameas 1 }} {{ 'a' is ne 'b' }} {{ 1 is equalto 1 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ none == false }}",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }} {{ 7.0 // 2 }} {{ 1 + 1.0 }} {{ 'a' * 3 }} {{ [1] * 2 }} {{ [1] + [2] }}",
    "{{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ words|sort(reverse=true) }} {{ words|unique|list }} {{ words|min }} {{ words|max }}",
    "{{ words|join(', ') }} {{ words|first }} {{ words|last }} {{ words|reverse|list }} {{ words|length }} {{ words|batch(3)|list }} {{ words|slice(3)|list }}",
    "{{ words|map('upper')|list }} {{ words|map('length')|sum }} {{ messages|map(attribute='role')|join('/') }} {{ messages|map(attribute='x', default='d')|list }}",
    "{{ messages|selectattr('role', 'eq', 'user')|map(attribute='role')|list }} {{ messages|rejectattr('role', 'equalto', 'user')|list|length }} {{ [1, 2, 3]|select('odd')|list }} {{ [0, 1, '']|reject|list }}",
    "{{ messages|groupby('role')|map(attribute='grouper')|list }} {{ messages|groupby('role')|length }}",
    "{{ data|dictsort }} {{ {'b': 1, 'a': 2}|dictsort(by='value') }} {{ {'b': 1, 'a': 2}|dictsort(reverse=true) }} {{ {'a': 1}|items|list }}",
    "{{ text|upper }} {{ text|lower }} {{ text|title }} {{ text|capitalize }} {{ text|replace('quick', 'slow') }} {{ text|replace('o', '0', 1) }} {{ text|length }} {{ text|wordcount }}",
    "{{ text|truncate(9) }} {{ text|truncate(9, true) }} {{ text|truncate(9, true, '') }} {{ text|center(25) }}| {{ ' a '|trim }} {{ 'xax'|trim('x') }} {{ text|first }} {{ text|last }} {{ text|reverse }} {{ text|list|length }}",
    "{{ 'a\\nb\\n\\nc'|indent }} {{ 'a\\nb'|indent(2, true) }} {{ 'a\\n\\nb'|indent(2, blank=true) }} {{ 'a\\nb'|indent(width=1) }} {{ 'a\\nb'|indent('>>') }}",
    "{{ '42'|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ '3.7'|float }} {{ 3.7|int }} {{ 3.14159|round(2) }} {{ 2.5|round }} {{ 3.2|round(method='ceil') }} {{ 42.55|round(1, 'floor')|int }} {{ -3|abs }}",
    "{{ '<a&\"\\'>'|escape }} {{ '<b>x</b> y'|striptags }} {{ '<a>'|safe }} {{ '<a>'|e }} {{ 'x'|forceescape }}",
    "{{ '%s %s'|format('a', 1) }} {{ '%(x)s'|format(x=2) }} {{ 1000000|filesizeformat }} {{ 'abc'|list }}",
    "{{ [[1, 2], [3]]|sum(start=[]) }} {{ [1, 2, 3]|sum }} {{ messages|sum(attribute='n', start=0) if false }} {{ [{'n': 1}, {'n': 2}]|sum(attribute='n') }}",
    "{{ [3, 1, 2]|sort(reverse=true)|first }} {{ [{'a': 2}, {'a': 1}]|sort(attribute='a')|list }} {{ [{'a': 2}, {'a': 1}]|min(attribute='a') }} {{ []|min }} {{ []|first }} {{ [1, 1, 2]|unique|list }}",
    "{{ data.get('b') }} {{ data.get('zz') }} {{ data.get('zz', 3) }} {{ data.keys()|list }} {{ data.values()|list }} {{ data.items()|length }} {{ dict(a=1, b=2) }} {{ data.copy()['b'] }}",
    "{{ [1, 2, 2].count(2) }} {{ [1, 2].index(2) }} {{ ['a'].copy() }} {{ (1, 2).index(2) }} {{ (1, 1).count(1) }}",
    "{{ [1, 2].append(3) }}",
    "{{ {}.update({'a': 1}) }}",
    "{{ data.pop('b') }}",
    "{% set ns = namespace(a=1, l=[]) %}{% set ns.a = ns.a + 1 %}{% set ns.l = ns.l + [1] %}{{ ns.a }}{{ ns.l }}",
    "{{ range(5)|list }} {{ range(1, 10, 3)|list }} {{ range(3)[1] }} {{ range(3)|length }} {{ range(5, 0, -2)|list }}",
    "{% for w in words %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.changed(w) }};{% endfor %}",
    "{% for w in words if w|length > 5 %}{{ loop.index }}{{ w }}{% else %}none{% endfor %}{% for w in [] %}x{% else %}none{% endfor %}{% for c in 'abc' %}{{ c }}.{% endfor %}",
    "{% for x in [1, [2, [3]]] recursive %}{% if x is number %}{{ x }}{% else %}({{ loop(x) }}){% endif %}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for k in data %}{{ k }}{% endfor %}",
    "{% set x %}  a {{ n }}{% endset %}[{{ x }}][{{ x|trim|upper }}]{% set y | upper %}ab{% endset %}{{ y }}",
    "{% with a=1, b=2 %}{{ a + b }}{% endwith %}{% if a is defined %}leak{% endif %}{% filter upper|trim %} ab {% endfilter %}",
    "{% do words %}",
    "{% raw %}{{ x }}{% endraw %}{# comment #}{{ '{{' }}{{ \"%}\" }}{% if '%}' %}y{% endif %}",
    "  {% if true %}\n  a\n  {% endif %}\n{%+ if true %} b{% endif %}\n {%- if true -%}  c  {%- endif %}\n\n",
    "{{ 'a' if n > 5 else 'b' }} {{ 'a' if n > 50 }} {{ (n > 5) and 'x' }} {{ n > 50 or 'y' }} {{ not n }} {{ 1 < n < 9 }} {{ n in range(9) }}",
    "{{ text[0] }} {{ text[-1] }} {{ text[4:9] }} {{ text[:3] }} {{ text[::2] }} {{ words[1:-1] }} {{ words[-1] }} {{ words[9] }}|{{ data['zz'] }}|{{ data.zz }}|{{ messages[0]['role'] }}",
    "{{ text.__class__ }}",
    "{{ none.x }}",
    "{{ missing.x }}",
    "{{ 'a' + 1 }}",
    "{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1] }} {{ 1 ~ '' }} {{ [none, true, 1.0, 'a'] }} {{ {'a': none, 1: 'x', true: 2.0} }} {{ 'it\\'s' }} {{ ['it\\'s', 'say \"x\"', 'both \\' \"', 'é\\n\\t\\\\'] }}",
    "{{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1e3 }} {{ 1.5e3 }} {{ 10000000000000000000000 }} {{ -5 }} {{ 1.0e-7 }}",
    "{{ 'a' 'b' }} {{ \"x\" \"y\" }} {{ 'tab\\t|nl\\\\n|\\x41|\\u00e9' }}",
    "{{ ['\\x7f', '\\x00', '\\u200b', '\\xa0', '😀', '\\x1b'] }}",
    "{{ '{} {}'.format('a', 1) }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x:>5}|{y:.2f}|{z:,}'.format(x='a', y=3.14159, z=1234567) }} {{ '{:03d}'.format(5) }}",
    "{{ raise_exception('no') }}",
    "{{ (1.5).is_integer() }} {{ true + 1 }} {{ [true, false]|sum }} {{ 5|string + '!' }} {{ 1 == true }} {{ '1' == 1 }} {{ 3 > 2.5 }}",
    "{{ dict is defined }} {{ range is defined }} {{ namespace is defined }} {{ cycler is defined }} {{ joiner is defined }}",
    "{{ data|length }} {{ data|list }} {{ data|first }} {{ data|string }} {{ 'a' in data }} {{ 'b' in data }} {{ data.a[1] }} {{ data.deep.k }} {{ data['deep']['k'] }} {{ data.a.1 }}",
    "{{ 'Ünïcode ß'.upper() }} {{ 'ẞ'.lower() }} {{ \"they're bill's\".title() }} {{ \"they're\"|title }} {{ 'hello wORLD'|capitalize }} {{ 'x1a b2C'.title() }} {{ 'aBc'.swapcase() }}",
    "{{ ' a  b '.split() }} {{ ' a  b '.split(' ') }} {{ 'a,b,,c'.split(',') }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a\\nb\\r\\nc\\n'.splitlines() }} {{ 'a\\nb'.splitlines(true) }} {{ 'a b c'.rsplit(' ', 1) }}",
    "{{ 'abc'.strip('a').lstrip('b').rstrip('c') }}| {{ '\\n x \\n'.strip() }}| {{ '\\u3000x\\u3000'.strip() }}| {{ 'aXbXc'.replace('X', '-', 1) }} {{ 'aXbXc'.replace('X', '', 0) }} {{ 'abc'.replace('', '-') }}",
    "{{ 'abc'.index('z') }}",
    "{{ 'a'.zzz() }}",
    "{{ {'a': 1}.zzz }}|{{ words.zzz }}|{{ n.zzz }}|",
    "{{ '-42'.zfill(6) }} {{ '+4'.zfill(4) }} {{ 'abc'.zfill(2) }} {{ ''.zfill(2) }} {{ '٣'.isdecimal() }} {{ '²'.isdigit() }} {{ '½'.isnumeric() }} {{ ''.isalpha() }} {{ 'a_1'.isidentifier() }} {{ '1a'.isidentifier() }}",
    "{{ 'abc'.startswith('b', 1) }} {{ 'abc'.startswith('') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.find('c', -1) }} {{ 'abcabc'.rfind('a', 0, 3) }} {{ 'aaa'.count('aa') }} {{ 'abc'.count('') }} {{ 'éa'.find('a') }}",
    "{{ 'a\\tb'.expandtabs(4) }} {{ 'ab'.center(5, '*') }} {{ 'ab'.ljust(4) }}| {{ 'ab'.rjust(4, '.') }} {{ 'a-b_c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'STRASSE'.casefold() }} {{ 'ß'.casefold() }}",
    "{{ messages[0].content|replace('\\'', '') }} {{ messages|length }} {{ messages[-1].role }} {{ messages[1:]|length }} {{ messages|last|tojson }} {{ (messages|first).content|length }}",
    "{{ [1, 2, 3]|map('string')|join }} {{ ['1', '2']|map('int')|list }} {{ ['a', 'b']|map('replace', 'a', 'x')|list }} {{ [[1, 2], [3]]|map('first')|list }} {{ [' a ']|map('trim')|first }} {{ [1.234]|map('round', 1)|list }}",
    "{{ {'a': 1} == {'a': 1} }} {{ [1, 2] == [1, 2] }} {{ [1] < [2] }} {{ 'a' in ['a'] }} {{ [1, 2][0:1] }} {{ {'a': 1}|length }} {{ {'x': {'y': 1}}.x.y }} {{ {'a': 1}.a }} {{ {1: 'x'}[1] }}",
    "{% if messages and messages[0].role == 'user' and 'Hé' in messages[0].content %}yes{% elif n %}n{% else %}no{% endif %}{% if not (n == 7 and f == 2.5) %}x{% endif %}",
    "{% for m in messages %}{% if loop.previtem is defined %}{{ loop.previtem.role }}>{% endif %}{{ m.role }}{% if loop.nextitem is defined %}>{{ loop.nextitem.role }}{% endif %};{% endfor %}",
    "{% for i in range(6) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% macro outer(x) %}{{ x }}{{ inner(x) }}{% endmacro %}{% macro inner(y) %}<{{ y }}>{% endmacro %}{{ outer(1) }}{% set g = outer %}{{ g('z') }}",
    "{{ 'a'|default }} {{ missing|length }} {{ missing|list }} {{ missing ~ 'x' }} {{ missing == missing }} {{ missing|tojson if false }} {{ missing|upper }}|",
    "{{ 10|string|length }} {{ 3.0 }} {{ 3.0|int }} {{ 1e5|int }} {{ '1e3'|float }} {{ 'inf'|float }} {{ 0.1 + 0.2 }} {{ 1/3 }} {{ 100000000.0 * 10000000000 }} {{ 2**64 }} {{ 5 / 2.0 }}",
    "{{ '\\u00e9'|tojson }} {{ {'é': 'ü'}|tojson(ensure_ascii=true) }} {{ {'b': 1, 'a': {'d': 1, 'c': 2}}|tojson(sort_keys=true) }} {{ []|tojson(indent=2) }} {{ {'a': []}|tojson(indent=2) }}",
]


def main():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = tojson

    def raise_exception(message):
        raise ValueError(message)

    environment.globals["raise_exception"] = raise_exception
    cases = []
    for snippet in SNIPPETS:
        try:
            text = environment.from_string(snippet).render(**json.loads(json.dumps(VARIABLES)))
        except Exception as error:
            print(repr(snippet), "->", type(error).__name__, error)
            text = None
        cases.append({"template": snippet, "text": text})
    with open(sys.argv[1], "w") as out:
        json.dump({"variables": VARIABLES, "cases": cases}, out, indent=1, ensure_ascii=False)
        out.write("\n")


main()
