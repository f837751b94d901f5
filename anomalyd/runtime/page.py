"""The frame of the replay's report: one HTML page that needs nothing else, light and dark.

`report.py` fills it, on the caller's thread. No scripts, no links to elsewhere; the page itself
forbids them, so what a file's names smuggle in can't load anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1b2430; --soft: #5c6775;
  --rule: #dfe3e8; --value: #1f5fbf; --expected: #7a5c00; --band: #1f5fbf26; --alert: #d9303024;
  --high: #c81e1e; --link: #1f5fbf; --warning: #8a5a00; --critical: #b3161b; --good: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --page: #10151b; --card: #181f27; --text: #e3e8ee;
  --soft: #98a4b3; --rule: #2b3540; --value: #6fa8ff; --expected: #d9b64a; --band: #6fa8ff2b;
  --alert: #ff5a5a2e; --high: #ff7b72; --link: #8ab8ff; --warning: #e3b341; --critical: #ff8880;
  --good: #56d364; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 36px 0 10px; }
h3 { font-size: 16px; margin: 0; overflow-wrap: anywhere; }
p { margin: 4px 0; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
.soft, th, dt { color: var(--soft); }
dl { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0 12px; }
dl div, .card, .scroll { background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; }
dl div { padding: 10px 16px; flex: 1 1 auto; }
dt { font-size: 13px; }
dd { margin: 0; font-size: 18px; font-weight: 600; font-variant-numeric: tabular-nums; }
.card { padding: 14px 16px; margin: 0 0 14px; overflow-x: auto; }
.head { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 4px 24px; }
.head div { flex: 1 1 20em; }
.scroll { overflow-x: auto; margin-bottom: 14px; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; white-space: nowrap; }
th, td { padding: 7px 12px; border-top: 1px solid var(--rule); vertical-align: top; }
thead th { border-top: 0; }
td.name { overflow-wrap: anywhere; min-width: 18em; }
td p { color: var(--soft); font-size: 13px; margin: 0; }
td.time { white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.warning, .critical, .good { font-weight: 600; }
.warning { color: var(--warning); }
.critical { color: var(--critical); }
.good { color: var(--good); }
svg { display: block; }
svg.chart { width: 100%; min-width: 640px; height: auto; margin-top: 8px; }
svg.spark { width: 220px; height: 32px; flex: none; }
td:has(svg) { padding: 3px 12px; }
span.key { white-space: nowrap; margin-right: 14px; }
.key svg { display: inline-block; width: 26px; height: 12px; vertical-align: -1px;
  margin-right: 4px; }
svg text { font-size: 12px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.grid { stroke: var(--rule); fill: none; }
.band { fill: var(--band); }
.alert { fill: var(--alert); }
.value, .expected, .high { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.value { stroke: var(--value); stroke-width: 1.6; }
.expected { stroke: var(--expected); stroke-width: 1.2; stroke-dasharray: 4 3; }
.high { stroke: var(--high); stroke-width: 5; }
.spark .value { stroke-width: 1; }
.spark .alert { fill: var(--high); opacity: 0.4; }
@media print { body { background: none; } .card { break-inside: avoid; } }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """The whole document; `sections` are HTML, `title` is text."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    body = "\n".join(sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and figures, side by side; both are text."""
    tiles = (f"<div><dt>{escape(name)}</dt><dd>{escape(fact)}</dd></div>" for name, fact in pairs)
    return f"<dl>{''.join(tiles)}</dl>"


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """`columns`: heading and class of each; `rows`: their cells, as HTML."""
    heads = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in columns)
    lines = (
        "<tr>"
        + "".join(
            f'<td class="{kind}">{cell}</td>' for (_, kind), cell in zip(columns, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    head = f"<thead><tr>{heads}</tr></thead>"
    return (
        f'<div class="scroll"><table>{head}<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>'
    )
