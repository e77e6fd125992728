//! The table as a picture: one panel for each import, both axes logarithmic.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::figures::{FAST, LARGE, SLOW, TORCH, W};
use crate::published::PUBLISHED;
use crate::{NODES, Run};

type Panel<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<LogCoord<f64>, LogCoord<f64>>>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// Seconds shown at most: beyond half a day nobody waits.
const SECONDS_MAX: f64 = 50_000.0;

const SETTINGS: [(&str, RGBColor); 3] = [
    (SLOW.name, RGBColor(200, 80, 30)),
    (FAST.name, RGBColor(40, 110, 190)),
    (LARGE.name, RGBColor(20, 130, 80)),
];

const MARKS: [RGBColor; 5] = [
    RGBColor(150, 60, 160),
    RGBColor(120, 120, 120),
    RGBColor(200, 140, 0),
    RGBColor(90, 60, 30),
    RGBColor(60, 60, 60),
];

/// Draws all runs to `path`.
///
/// # Errors
/// The file cannot be written.
pub fn draw(path: &Path, runs: &[Run]) -> anyhow::Result<()> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (1_240, 640)).into_drawing_area();
        panels(&area, runs).map_err(|error| anyhow::anyhow!("drawing: {error}"))?;
    }
    text.push('\n');
    Ok(std::fs::write(path, text)?)
}

fn panels<'b>(area: &DrawingArea<SVGBackend<'b>, Shift>, runs: &[Run]) -> Result<(), Failure<'b>> {
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(620);
    let title = "import numpy, scipy, scipy.stats, pandas";
    let mut panel = framed(&left, title)?;
    SETTINGS.iter().try_for_each(|setting| lines(&mut panel, runs, W.name, *setting))?;
    legend(&mut panel)?;
    let mut panel = framed(&right, "import torch, beside what others published")?;
    lines(&mut panel, runs, TORCH.name, SETTINGS[2])?;
    for (published, color) in PUBLISHED.iter().zip(MARKS) {
        let points = published.points.iter().map(|(nodes, seconds)| (f64::from(*nodes), *seconds));
        panel.draw_series(LineSeries::new(points.clone(), color.mix(0.5)))?;
        let marks = points.map(|point| Circle::new(point, 4, color.filled()));
        panel
            .draw_series(marks)?
            .label(published.name)
            .legend(move |(x, y)| Circle::new((x + 12, y), 4, color.filled()));
    }
    legend(&mut panel)?;
    area.present()
}

fn framed<'b>(area: &DrawingArea<SVGBackend<'b>, Shift>, title: &str) -> Result<Panel<'b>, Failure<'b>> {
    let mut panel = ChartBuilder::on(area)
        .margin(14)
        .caption(title, ("sans-serif", 18))
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d((1.0..130_000.0).log_scale(), (1.0..SECONDS_MAX).log_scale())?;
    let plain = |value: &f64| format!("{value:.0}");
    panel
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("nodes")
        .y_desc("seconds until the slowest node has imported, cold")
        .x_label_formatter(&plain)
        .y_label_formatter(&plain)
        .label_style(("sans-serif", 13))
        .draw()?;
    Ok(panel)
}

/// What the model says of one setting: Spinney thick, everyone asking storage thin.
fn lines<'b>(
    panel: &mut Panel<'b>,
    runs: &[Run],
    import: &str,
    (setting, color): (&str, RGBColor),
) -> Result<(), Failure<'b>> {
    let of = |seconds: fn(&Run) -> f64| -> Vec<(f64, f64)> {
        let runs = runs.iter().filter(|run| run.import == import && run.setting == setting);
        let points = runs.zip(NODES).map(|(run, nodes)| (f64::from(nodes), seconds(run)));
        points.filter(|(_, seconds)| *seconds <= SECONDS_MAX).collect()
    };
    for (name, width, points) in
        [("Spinney", 4, of(|run| run.spinney)), ("everyone asks storage", 1, of(|run| run.direct))]
    {
        let style = color.stroke_width(width);
        panel
            .draw_series(LineSeries::new(points, style))?
            .label(format!("model: {name}, {setting} storage"))
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 24, y)], style));
    }
    Ok(())
}

fn legend<'b>(panel: &mut Panel<'b>) -> Result<(), Failure<'b>> {
    panel
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .legend_area_size(32)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 13))
        .draw()
}
