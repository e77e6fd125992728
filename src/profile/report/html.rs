//! The report as one page: it loads nothing, is readable without a script and without colours.
//!
//! Not here: what stands in it (`sections`).

use maud::{DOCTYPE, PreEscaped, html};

use super::sections::Section;
use super::{Cell, Report};

const STYLE: &str = "\
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #8886}
nav{display:flex;flex-wrap:wrap;gap:.2rem .8rem}nav a{white-space:nowrap}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .7rem .2rem 0;text-align:left;vertical-align:top}th{border-bottom:1px solid #8888}
td.n,th.n{text-align:right;white-space:nowrap}td.t{white-space:nowrap}td.path{overflow-wrap:anywhere;min-width:16rem}
tr:nth-child(even) td{background:#8881}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid}
th[aria-sort=ascending] button::after{content:' \\2191'}th[aria-sort=descending] button::after{content:' \\2193'}
figure{margin:.5rem 0;max-width:45rem}
svg{display:block;width:100%;min-width:36rem;height:auto;background:#fff;color:#000}svg text{font:12px system-ui,sans-serif;fill:#000}
svg .bar{fill:#777}svg .axis{stroke:#000}svg .grid{stroke:#000;stroke-width:.3;stroke-dasharray:2 3}svg .key{stroke:#000;stroke-width:.5}
@media print{th button::after{content:''}nav{display:none}}";

/// Makes the headings of tables sort; without it they are just headings.
const SCRIPT: &str = "\
for(const head of document.querySelectorAll('th')){const button=document.createElement('button');
button.append(...head.childNodes);head.append(button);button.onclick=()=>{const table=head.closest('table');
const column=[...head.parentNode.children].indexOf(head);const down=head.getAttribute('aria-sort')!=='descending';
for(const other of table.querySelectorAll('th'))other.removeAttribute('aria-sort');
head.setAttribute('aria-sort',down?'descending':'ascending');
const value=row=>row.children[column].dataset.v;const rows=[...table.tBodies[0].rows];
rows.sort((a,b)=>{const x=value(a),y=value(b);const d=head.classList.contains('n')?x-y:x.localeCompare(y,undefined,{numeric:true});return down?-d:d});
table.tBodies[0].append(...rows)}}";

/// Letters of a cell from which on it is broken into lines: 40, a name of most things but paths.
const LONG: usize = 40;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (report.title.replace('`', "")) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (report.title.replace('`', "")) }
                ul { @for remark in &report.remarks { li { (remark.replace("**", "").replace('`', "")) } } }
                nav { @for section in &report.sections { a href=(format!("#{}", section.name)) { (section.title) } } }
                @for section in &report.sections { (part(section)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    body.into_string()
}

fn part(section: &Section) -> maud::Markup {
    let rows = section.shown_rows();
    let numeric: Vec<bool> =
        (0..section.columns.len()).map(|n| rows.iter().all(|row| row[n].is_number())).collect();
    let is_long = |n: usize| rows.iter().any(|row| row[n].shown().chars().count() > LONG);
    let class = |n: usize| match (numeric[n], is_long(n)) {
        (true, _) => "n",
        (_, true) => "path",
        _ => "t",
    };
    html! {
        section id=(section.name) {
            h2 { (section.title) }
            @if !section.about.is_empty() { p { (section.about.replace('`', "")) } }
            @for chart in &section.charts { figure .wide { (chart.svg(section.title)) } }
            @if !rows.is_empty() {
                @if !section.charts.is_empty() && rows.len() > 12 {
                    details { summary { "As a table" } (table(section, class)) }
                } @else { (table(section, class)) }
            }
        }
    }
}

fn table(section: &Section, class: impl Fn(usize) -> &'static str) -> maud::Markup {
    let plain = |cell: &Cell| cell.plain();
    html! {
        div .wide {
            table {
                thead { tr { @for (n, name) in section.columns.iter().enumerate() { th class=(class(n)) { (name) } } } }
                tbody {
                    @for row in section.shown_rows() {
                        tr { @for (n, cell) in row.iter().enumerate() {
                            td class=(class(n)) data-v=(plain(cell)) { (cell.shown()) }
                        } }
                    }
                }
            }
        }
    }
}
