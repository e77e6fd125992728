//! A picture of numbers side by side, as SVG.

use maud::{Markup, html};

/// Width of a picture, in its own units.
pub const WIDTH: f64 = 720.0;

/// Height of a bar with the gap beneath it.
const STEP: f64 = 24.0;

/// Room for the number behind the longest bar.
const RIGHT: f64 = 90.0;

/// Characters of a label that are shown at most; the table has all of it.
const LABEL_CHARACTERS_MAX: usize = 32;

/// Room that a character of a label takes at most, and that all labels have at least.
const CHARACTER: f64 = 7.0;
const LEFT: f64 = 90.0;

/// One bar for each label, as long as its number, which is shown as text behind it; `what` the numbers are stands beneath.
pub fn bars(bars: &[(String, f64, String)], title: &str, what: &str) -> Markup {
    let most = bars.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let foot = STEP * bars.len() as f64;
    let height = foot + if what.is_empty() { 4.0 } else { STEP };
    let labels: Vec<String> = bars.iter().map(|(label, ..)| shortened(label)).collect();
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let left = LEFT.max(CHARACTER * longest as f64 + 12.0);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(title) {
            @for (place, (label, (_, value, shown))) in labels.iter().zip(bars).enumerate() {
                @let y = STEP * place as f64;
                @let width = (WIDTH - left - RIGHT) * value.max(0.0) / most;
                text x=(left - 6.0) y=(y + 16.0) text-anchor="end" { (label) }
                rect x=(left) y=(y + 3.0) width=(format!("{width:.1}")) height="17" class="bar" {}
                text x=(format!("{:.1}", left + width + 6.0)) y=(y + 16.0) { (shown) }
            }
            @if !what.is_empty() { text x=(left) y=(foot + 16.0) { (what) } }
        }
    }
}

fn shortened(label: &str) -> String {
    match label.char_indices().nth(LABEL_CHARACTERS_MAX) {
        None => label.to_owned(),
        Some(_) => label.chars().take(LABEL_CHARACTERS_MAX - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_stays_in_its_picture_and_a_label_is_only_text() {
        let bar = |label: &str, value| (label.to_owned(), value, format!("{value}"));
        let picture = bars(&[bar("<script>", 4.0), bar(&"x".repeat(99), 2.0), bar("none", 0.0)], "t", "runs")
            .into_string();
        assert!(
            !picture.contains("<script>") && picture.contains('…') && picture.contains(">runs<"),
            "{picture}"
        );
        let widths: Vec<f64> = picture
            .split("width=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!((widths[0] / 2.0 - widths[1]).abs() < 0.1, "{widths:?}");
        assert!(widths[0] < WIDTH && widths[2] == 0.0);
    }

    #[test]
    fn where_all_are_nothing_there_are_no_bars() {
        let picture = bars(&[("a".to_owned(), 0.0, "0".to_owned())], "t", "runs").into_string();
        assert!(picture.contains("width=\"0.0\""), "{picture}");
    }
}
