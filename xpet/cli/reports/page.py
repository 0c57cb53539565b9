"""The style of HTML reports (light and dark), and the script that sorts their tables and offers the download."""

from __future__ import annotations

STYLE = """\
:root { color-scheme: light dark; --back: #fff; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --stripe: #f6f8fa;
  --good: #11663a; --bad: #a40e26; --warn: #7a4b00; --warnback: #fff4d6; --mark: #0550ae; }
@media (prefers-color-scheme: dark) {
  :root { --back: #0f141a; --ink: #e6edf3; --soft: #9da7b3; --line: #30363d; --stripe: #171d25;
    --good: #56d364; --bad: #ff8a80; --warn: #f2cc60; --warnback: #33290a; --mark: #79b8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--back); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
p { margin: .5rem 0; max-width: 60rem; }
.lead, .note, caption { color: var(--soft); }
.note { font-size: .875rem; }
.banner { background: var(--warnback); color: var(--warn); border-left: .3rem solid; padding: .6rem .8rem; }
.box { overflow-x: auto; border: 1px solid var(--line); border-radius: .4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; font-size: .925rem; }
th, td { padding: .35rem .7rem; text-align: start; vertical-align: top; border-bottom: 1px solid var(--line); }
tbody tr { background: var(--back); }
tbody tr:nth-child(even) { background: var(--stripe); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th, td.firm { white-space: nowrap; }
td.prose { min-width: 14rem; }
tbody th { position: sticky; inset-inline-start: 0; background: inherit; font-weight: 600; }
.right { text-align: end; }
td small { display: inline-block; min-width: 8.2em; color: var(--soft); white-space: nowrap; }
td b { font-size: .8em; }
.sign { display: inline-block; width: .6em; text-align: start; }
thead button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
thead button:hover { text-decoration: underline; }
thead button:focus-visible, summary:focus-visible, .box:focus-visible, a:focus-visible {
  outline: 2px solid var(--mark); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .dim { color: var(--soft); }
.best, .worst { font-weight: 700; } .worst { color: var(--bad); } .best { color: var(--good); }
figure { margin: 1rem 0; overflow-x: auto; }
figure svg { display: block; width: 100%; min-width: 30rem; max-width: 48rem; height: auto; }
.queries { display: grid; gap: .75rem; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
.queries > li { border: 1px solid var(--line); border-radius: .4rem; padding: .75rem; }
.queries p { margin: 0 0 .35rem; }
.pair { display: flex; gap: .75rem; margin: .5rem 0 0; }
.pair > div { flex: 1; min-width: 0; font-size: .875rem; }
.pair img { display: block; width: 6rem; height: 6rem; object-fit: contain; background: var(--stripe); }
details { margin: .75rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; background: var(--stripe); padding: .75rem; border-radius: .4rem; font-size: .85rem; }
a { color: var(--mark); }
[hidden] { display: none; }
@media (max-width: 30rem) { table { font-size: .85rem; } }
@media (max-width: 48rem) { th, td { padding: .3rem .35rem; } td small { display: block; min-width: 0; } }
@media print { body { max-width: none; } #download { display: none; } }
"""

SCRIPT = """\
"use strict";
function key(cell) {
  const raw = cell.dataset.value;
  return raw === undefined ? cell.textContent.trim() : Number(raw);
}
function order(a, b) {
  const empty = (x) => x === "" || x === "-";
  if (empty(a) || empty(b)) return Number(empty(a)) - Number(empty(b));
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}
function sort(head) {
  const table = head.closest("table"), body = table.tBodies[0], place = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = Array.from(body.rows, (row) => [key(row.cells[place]), row]);
  const known = rows.filter(([k]) => k !== "" && k !== "-"), rest = rows.filter(([k]) => k === "" || k === "-");
  known.sort((a, b) => (down ? order(b[0], a[0]) : order(a[0], b[0])));
  body.append(...known.concat(rest).map((pair) => pair[1]));
}
for (const head of document.querySelectorAll("table.sortable thead th")) {
  if (!head.textContent.trim()) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => sort(head));
}
const download = document.getElementById("download");
download.hidden = false;
download.addEventListener("click", () => {
  const text = document.getElementById("report").textContent;
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  download.href = url;
  setTimeout(() => URL.revokeObjectURL(url), 10000);
});
"""
