//! The page of a profile, in a browser: drawn, without complaints, sortable, and whole without a script.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::browser::Browser;
use crate::scene::{Scene, output, scenes, text};

/// A name that must not become part of the page.
const HOSTILE: &str = "<img src=x onerror=document.title='taken'>&\"'";

/// The page about a run on two nodes.
fn page(scene: &Scene) -> PathBuf {
    fs::write(scene.env.join(HOSTILE.replace('/', "")), "x").unwrap();
    for n in 0..40 {
        fs::write(scene.env.join(format!("file-{n}")), vec![b'x'; 100 * n]).unwrap();
    }
    let script = "for n in 1 2 3; do cat \"$0\"/*img* \"$0\"/file-*; [ -e \"$0/nothing-$n\" ]; done; exit 0";
    let flags = ["-q", "--require", "--local-nodes", "2", "--report", "report", "--profile", "full"];
    let mut run = scene.run(&flags, &["sh", "-c", script]);
    let ran = output(run.arg(&scene.env));
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let told = output(&mut scene.spinney(&["profile", "report", "report", "--to", "pages"]));
    assert!(told.status.success(), "{}", text(&told.stderr));
    scene.home.join("pages/report.html")
}

/// What must be true of what is drawn, as a list of what is not.
const FAULTS: &str = "(() => { const faults = [];
    const wide = document.documentElement.scrollWidth;
    if (wide > innerWidth) faults.push(`the page is ${wide} wide in a window of ${innerWidth}`);
    const charts = document.querySelectorAll('svg');
    if (charts.length < 4) faults.push(`${charts.length} charts`);
    for (const svg of charts) {
        const name = svg.getAttribute('aria-label'), box = svg.getBoundingClientRect();
        if (box.width < 100 || box.height < 20) faults.push(`${name}: ${box.width} by ${box.height}`);
        const words = [...svg.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()]);
        for (const [word, at] of words) {
            if (at.left < box.left - 1 || at.right > box.right + 1 || at.top < box.top - 1 || at.bottom > box.bottom + 1)
                faults.push(`${name}: '${word}' is cut off`);
            for (const [other, there] of words) if (other !== word && at.left < there.right - 1 && there.left < at.right - 1
                && at.top < there.bottom - 3 && there.top < at.bottom - 3) faults.push(`${name}: '${word}' upon '${other}'`);
        }
    }
    return faults })()";

/// How many colours a picture has, and which part of it is not as its corner.
const INK: &str = "(async () => { const image = new Image(); image.src = 'data:image/png;base64,PICTURE';
    await image.decode(); const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
    const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
    return [new Set(pixels).size, pixels.filter(pixel => pixel !== pixels[0]).length / pixels.length] })()";

#[test]
fn the_page_is_drawn_in_every_width_complains_of_nothing_and_loads_nothing() {
    for scene in scenes() {
        let page = page(&scene);
        let mut browser = Browser::start(&scene);
        for width in [1280, 800, 360] {
            browser.resize(width, 900);
            browser.open(&page);
            assert_eq!(browser.value(FAULTS), Value::Array(Vec::new()), "{}, {width} wide", scene.who());
            assert_eq!(browser.complaints(), Vec::<&Value>::new());
            assert_eq!(browser.loaded(), [format!("file://{}", page.display())]);
            let ink = INK.replace("PICTURE", &browser.picture());
            let ink = browser.value(&ink);
            assert!(ink[0].as_u64() > Some(8) && ink[1].as_f64() > Some(0.02), "blank: {ink}");
        }
        let title = browser.value("document.title");
        assert!(title.as_str().is_some_and(|title| title.contains("sh")), "{title}");
        let shown = browser.value("document.body.innerText.includes('<img src=x onerror=')");
        assert_eq!(shown, true, "names are told as they are");
        scene.assert_nothing_left();
    }
}

/// The raw values of the column, from above.
const COLUMN: &str =
    "[...document.querySelectorAll('#hot-data tbody tr')].map(row => row.children[COLUMN].dataset.v)";

/// Tables whose columns are not in order after a click, or not the other way round after another.
const UNSORTED: &str = "(() => { const wrong = [];
    for (const table of document.querySelectorAll('table')) for (const head of table.querySelectorAll('th')) {
        const column = [...head.parentNode.children].indexOf(head), number = head.classList.contains('n');
        const values = () => [...table.tBodies[0].rows].map(row => row.children[column].dataset.v);
        const ordered = list => list.every((v, i) => i === 0 || (number ? +list[i - 1] <= +v : list[i - 1].localeCompare(v, undefined, { numeric: true }) <= 0));
        const name = table.closest('section').id + ' ' + head.textContent, before = values().length;
        head.querySelector('button').click();
        if (!ordered(values().reverse()) || head.getAttribute('aria-sort') !== 'descending') wrong.push(name);
        head.querySelector('button').click();
        if (!ordered(values()) || head.getAttribute('aria-sort') !== 'ascending') wrong.push(name + ' again');
        if (values().length !== before) wrong.push(name + ' lost rows');
    } return wrong })()";

#[test]
fn a_click_on_a_heading_sorts_and_another_turns_the_order_round() {
    for scene in scenes() {
        let page = page(&scene);
        let mut browser = Browser::start(&scene);
        browser.resize(1280, 900);
        browser.open(&page);
        let bytes: Vec<u64> = {
            browser.click("#hot-data th:nth-child(3) button");
            browser.click("#hot-data th:nth-child(3) button");
            let column = browser.value(&COLUMN.replace("COLUMN", "2"));
            column.as_array().unwrap().iter().map(|value| value.as_str().unwrap().parse().unwrap()).collect()
        };
        assert!(bytes.len() > 20 && bytes.is_sorted() && bytes.first() < bytes.last(), "{bytes:?}");
        assert_eq!(browser.value(UNSORTED), Value::Array(Vec::new()), "{}", scene.who());
        assert_eq!(browser.complaints(), Vec::<&Value>::new());
    }
}

#[test]
fn without_a_script_the_page_says_the_same() {
    const WORDS: &str =
        "document.querySelectorAll('details').forEach(e => e.open = true), document.body.innerText";
    for scene in scenes() {
        let page = page(&scene);
        let mut browser = Browser::start(&scene);
        browser.resize(1280, 900);
        browser.open(&page);
        let with = browser.value(WORDS);
        assert_eq!(browser.value("document.querySelectorAll('th button').length > 20"), true);
        browser.allow_scripts(false);
        browser.open(&page);
        assert_eq!(browser.value("document.querySelectorAll('th button').length"), 0, "a script ran");
        assert_eq!(browser.value(WORDS), with);
        assert_eq!(browser.value(FAULTS), Value::Array(Vec::new()));
    }
}
