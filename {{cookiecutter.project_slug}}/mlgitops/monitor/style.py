"""How the history looks: light and dark, narrow and wide."""

STYLE = """
:root{--ink:#1c2430;--soft:#5b6675;--rule:#d9dee5;--back:#fff;--card:#f6f8fa;
--main:#0b63c5;--other:#b45309}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b4;--rule:#333c48;
--back:#12161c;--card:#1a2028;--main:#6fb1ff;--other:#f2a65a}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);
max-width:72rem;margin:0 auto;padding:1.5rem 1rem}
h1{font-size:1.4rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
a{color:var(--main)}.soft{color:var(--soft)}
.now{background:var(--card);border:1px solid var(--rule);border-radius:.5rem;
padding:1rem;margin:1rem 0}.now p{margin:.4rem 0}
.badge{display:inline-block;padding:0 .55rem;border-radius:1rem;font-weight:600;
font-size:.85rem;border:1px solid;white-space:nowrap}
.none{color:#1a7f37}.watch{color:#9a6700}.retrain{color:#8250df}.stop{color:#cf222e}
.few{color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));
gap:0 1rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--rule);
vertical-align:top}th{color:var(--soft);font-weight:500;white-space:nowrap}
td.day{white-space:nowrap}
@media (max-width:40rem){.runs thead{display:none}.runs tr{display:block;
border-bottom:1px solid var(--rule);padding:.5rem 0}.runs td{display:inline-block;
border:0;padding:.1rem .5rem .1rem 0}.runs td.text{display:block}}
"""
