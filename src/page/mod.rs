//! A report as one HTML page: it loads nothing, is readable without a script and without colours.
//!
//! A leaf: it knows no other folder. Text is escaped, whoever it comes from.
//!
//! Not here: what stands on a page (`profile::report`, `track::report`).

mod bars;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use self::bars::{WIDTH, bars};

/// Rows of a table beside a picture from which on it is folded away.
const FOLDED_ROWS: usize = 12;

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
figure{margin:.5rem 0;max-width:45rem;overflow-x:auto}
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

/// A page.
pub struct Page {
    /// What it is about.
    pub title: String,
    /// What is to be known before reading on.
    pub remarks: Vec<String>,
    /// In the order of reading.
    pub sections: Vec<Section>,
}

/// One table with what is to be said about it.
pub struct Section {
    /// In addresses within the page.
    pub name: &'static str,
    /// The heading.
    pub title: &'static str,
    /// What it shows.
    pub about: String,
    /// The same as pictures.
    pub pictures: Vec<Markup>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// One value.
pub struct Cell {
    /// For people.
    pub shown: String,
    /// For sorting.
    pub plain: String,
    /// Whether it is to stand at the right.
    pub is_number: bool,
}

/// The page as text.
pub fn page(page: &Page) -> String {
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (page.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (page.title) }
                ul { @for remark in &page.remarks { li { (remark) } } }
                nav { @for section in &page.sections { a href=(format!("#{}", section.name)) { (section.title) } } }
                @for section in &page.sections { (part(section)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    body.into_string()
}

fn part(section: &Section) -> Markup {
    html! {
        section id=(section.name) {
            h2 { (section.title) }
            @if !section.about.is_empty() { p { (section.about) } }
            @for picture in &section.pictures { figure .wide { (picture) } }
            @if !section.rows.is_empty() {
                @if !section.pictures.is_empty() && section.rows.len() > FOLDED_ROWS {
                    details { summary { "As a table: " (section.columns.join(", ")) } (table(section)) }
                } @else { (table(section)) }
            }
        }
    }
}

fn table(section: &Section) -> Markup {
    let class = |n: usize| {
        let mut cells = section.rows.iter().map(|row| &row[n]);
        if cells.clone().all(|cell| cell.is_number) {
            "n"
        } else if cells.any(|cell| cell.shown.chars().count() > LONG) {
            "path"
        } else {
            "t"
        }
    };
    let classes: Vec<&str> = (0..section.columns.len()).map(class).collect();
    html! {
        div .wide {
            table {
                thead { tr { @for (name, class) in section.columns.iter().zip(&classes) { th class=(class) { (name) } } } }
                tbody {
                    @for row in &section.rows {
                        tr { @for (cell, class) in row.iter().zip(&classes) {
                            td class=(class) data-v=(cell.plain) { (cell.shown) }
                        } }
                    }
                }
            }
        }
    }
}
