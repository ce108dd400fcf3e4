"""How the page of a report looks, on a light and on a dark screen, and on paper."""

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --rule: #d8dee4;
  --panel: #f6f8fa; --good: #0b6bcb; --bad: #b3261e; --front: #0b6bcb; --limit: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --paper: #0e1116; --ink: #e6e9ee; --soft: #9aa4b0; --rule: #2c333c;
  --panel: #161b22; --good: #6cb6ff; --bad: #ff8a80; --front: #6cb6ff; --limit: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1360px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.25rem 0 .75rem; }
h3 { font-size: .95rem; margin: 1.25rem 0 .4rem; }
header p { margin: .2rem 0; color: var(--soft); } code { font-size: .9em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 40rem; }
th, td { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--rule); text-align: left; white-space: nowrap; }
thead th { color: var(--soft); font-weight: 600; font-size: .85rem; vertical-align: bottom; }
tbody th { font-weight: 600; } td:last-child { white-space: normal; }
.unit { font-weight: 400; } .none { color: var(--soft); }
.badge { font-size: .85rem; font-weight: 600; } .badge.passed { color: var(--good); }
.badge.refused { color: var(--bad); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.25rem; }
figure { margin: 0; max-width: 46rem;
  background: var(--panel); border: 1px solid var(--rule); border-radius: 8px; padding: .9rem; }
figcaption { font-weight: 600; margin-bottom: .4rem; }
svg { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }
.grid { stroke: var(--rule); stroke-width: 1; } .tick, .axis { fill: var(--soft); } .label { fill: var(--ink);
  paint-order: stroke; stroke: var(--panel); stroke-width: 3px; }
.whisker { stroke: var(--soft); stroke-width: 1.5; } .front { fill: none; stroke: var(--front); stroke-width: 1.5; }
.limit { stroke: var(--limit); stroke-dasharray: 5 4; } .limit-text { fill: var(--limit); }
circle.passed { fill: var(--panel); stroke: var(--good); stroke-width: 2; } circle.best { fill: var(--good); }
path.refused { stroke: var(--bad); stroke-width: 2.5; fill: none; }
.legend { color: var(--soft); font-size: .9rem; } .key.passed, .key.front { color: var(--good); }
.key.refused { color: var(--bad); } .key.limit { color: var(--limit); } .key { margin-left: .75rem; }
details { border: 1px solid var(--rule); border-radius: 8px; padding: .6rem 1rem; margin: .6rem 0; }
summary { cursor: pointer; font-weight: 600; } summary:focus-visible { outline: 2px solid var(--good); }
.reasons { color: var(--bad); } .facts { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
@media print { details { break-inside: avoid; } figure { break-inside: avoid; } }
"""
