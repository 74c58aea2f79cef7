#include "smidgen/report/page_style.h"

namespace smidgen {

const std::string_view kPageStyle = R"css(
:root { color-scheme: light dark;
  --page: #fcfcfb; --card: #ffffff; --ink: #1c1e21; --muted: #5f6670; --rule: #e3e5e8; --grid: #eceef0;
  --c1: #1f5fbf; --c2: #c2570c; --c3: #0f7a5f; --c4: #7a3fa8; --seen: #fdeab5; --seen-edge: #d9a400;
  --warn: #a61b1b; --warn-page: #fdf1f0; --good: #0f7a5f; --hover: #1c1e2112; }
@media (prefers-color-scheme: dark) { :root {
  --page: #131518; --card: #1a1d21; --ink: #e4e7ea; --muted: #99a1ab; --rule: #2d3238; --grid: #262a30;
  --c1: #74a9f7; --c2: #f0a35e; --c3: #5cc9a7; --c4: #c39bea; --seen: #4a3b0c; --seen-edge: #c79a1e;
  --warn: #ff9d94; --warn-page: #351b1a; --good: #5cc9a7; --hover: #ffffff14; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1020px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 24px; line-height: 1.25; font-weight: 650; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 16px; font-weight: 650; margin: 44px 0 12px; padding-top: 14px; border-top: 1px solid var(--rule); }
h3 { font-size: 13px; font-weight: 600; color: var(--muted); margin: 0 0 6px; }
p { margin: 0 0 10px; }
.muted, .none { color: var(--muted); }
.when { color: var(--muted); margin: 4px 0 0; font-size: 13px; }
.headline { display: flex; flex-wrap: wrap; gap: 8px 48px; margin: 28px 0 4px; }
.headline div > span { display: block; color: var(--muted); font-size: 13px; }
.headline strong { font-size: 32px; font-weight: 600; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; white-space: nowrap; }
.headline strong i { font-style: normal; font-weight: 400; color: var(--muted); }
.headline .good { color: var(--good); } .headline .bad { color: var(--warn); }
.note { color: var(--muted); font-size: 13px; max-width: 72ch; }
.warnings { background: var(--warn-page); border-left: 3px solid var(--warn); padding: 10px 14px; margin: 20px 0; }
.warnings h3 { color: var(--warn); } .warnings ul { margin: 0; padding-left: 18px; } .warnings li { overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: 14px 24px; margin: 24px 0 8px; }
.facts dt { color: var(--muted); font-size: 13px; overflow-wrap: anywhere; } .facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 20px 24px; }
figure { margin: 0; } figcaption { font-weight: 600; font-size: 14px; margin-bottom: 2px; }
.wide { display: block; } .narrow { display: none; } .hero { margin-bottom: 24px; }
svg.chart { display: block; width: 100%; height: auto; font-size: 11px; font-variant-numeric: tabular-nums; }
svg text { fill: var(--ink); } svg text.muted, svg text.tick { fill: var(--muted); }
svg path { fill: none; stroke-linejoin: round; stroke-linecap: round; }
svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--muted); stroke-opacity: .6; }
svg .line { stroke-width: 1.9; } svg .faint { stroke-width: 1; stroke-opacity: .38; } svg .gap { stroke: var(--warn); stroke-width: 1.5; }
svg .c1 { stroke: var(--c1); } svg .c2 { stroke: var(--c2); } svg .c3 { stroke: var(--c3); } svg .c4 { stroke: var(--c4); }
svg .band { stroke: none; fill-opacity: .16; } svg .dot { stroke: var(--card); stroke-width: 1.2; }
svg .band.c1, svg .dot.c1, svg text.c1 { fill: var(--c1); } svg .band.c2, svg .dot.c2, svg text.c2 { fill: var(--c2); }
svg .band.c3, svg .dot.c3, svg text.c3 { fill: var(--c3); } svg .band.c4, svg .dot.c4, svg text.c4 { fill: var(--c4); }
svg text { stroke: none !important; } svg text.end { font-weight: 600; }
svg .hits rect { fill: transparent; } svg .hits rect:hover { fill: var(--hover); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--muted); }
th, td { padding: 4px 18px 4px 0; border-bottom: 1px solid var(--rule); vertical-align: top; overflow-wrap: anywhere; min-width: 5em; }
.n { text-align: right; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
code, pre, .tokens { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre, .tokens { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; background: var(--card); border: 1px solid var(--rule);
  border-radius: 4px; padding: 10px 12px; tab-size: 4; }
.ctl { color: var(--muted); opacity: .65; font-size: .85em; }
mark { background: var(--seen); color: inherit; box-shadow: 0 1px 0 var(--seen-edge); border-radius: 2px; -webkit-box-decoration-break: clone; box-decoration-break: clone; }
details > summary { cursor: pointer; color: var(--muted); font-size: 13px; padding: 4px 0; }
details.part > summary { font-size: 14px; color: var(--ink); }
.sample { margin: 0 0 28px; } .sample > div { margin-bottom: 12px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 12px 20px; }
footer { margin-top: 48px; color: var(--muted); font-size: 12px; }
@media (max-width: 640px) { main { padding: 24px 16px 40px; } .wide { display: none; } .narrow { display: block; }
  .headline strong { font-size: 26px; } }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --muted: #444; --rule: #bbb; --grid: #ddd;
  --c1: #1f5fbf; --c2: #c2570c; --c3: #0f7a5f; --c4: #7a3fa8; --seen: #fdeab5; --seen-edge: #d9a400; --warn: #a61b1b; --warn-page: #fff; }
  body { font-size: 11pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; } main { max-width: none; padding: 0; }
  h2, figcaption { break-after: avoid; } figure, tr, .headline { break-inside: avoid; } .scroll { overflow: visible; } }
)css";

}  // namespace smidgen
