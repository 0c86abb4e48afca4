//! The curves as a picture.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::curves::Curve;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Draws the curves side by side; in grey, what would be proportional to a number on the axis.
pub(crate) fn draw(path: &Path, curves: &[Curve]) -> Outcome {
    let area = SVGBackend::new(path, (1_260, 400)).into_drawing_area();
    area.fill(&WHITE)?;
    for (panel, curve) in area.split_evenly((1, curves.len())).iter().zip(curves) {
        draw_curve(panel, curve)?;
    }
    area.present()?;
    Ok(())
}

fn draw_curve(panel: &DrawingArea<SVGBackend<'_>, Shift>, curve: &Curve) -> Outcome {
    let place = |x: u64| {
        if curve.powers {
            (x as f64).log10()
        } else {
            x as f64
        }
    };
    let label = |place: &f64| {
        let x = if curve.powers {
            10f64.powf(*place)
        } else {
            *place
        };
        format!("{x:.0}")
    };
    let (first, last) = (curve.points[0], curve.points[curve.points.len() - 1]);
    let highest = curve.points.iter().map(|point| point.1).fold(0.0, f64::max) * 1.25;
    let mut chart = ChartBuilder::on(panel)
        .caption(curve.title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d(place(first.0)..place(last.0), 0.0..highest)?;
    chart
        .configure_mesh()
        .x_desc(curve.axis)
        .y_desc("ns an event")
        .x_labels(7)
        .x_label_formatter(&label)
        .y_label_formatter(&|ns| format!("{ns:.0}"))
        .label_style(("sans-serif", 13))
        .light_line_style(WHITE)
        .draw()?;
    if !curve.powers {
        let until = last.0.min((highest / first.1) as u64 * first.0);
        let proportional = [first.0, until].map(|x| (place(x), first.1 * (x / first.0) as f64));
        chart.draw_series(LineSeries::new(proportional, BLACK.mix(0.3)))?;
    }
    let points = || curve.points.iter().map(|(x, ns)| (place(*x), *ns));
    chart.draw_series(LineSeries::new(points(), BLUE.stroke_width(2)))?;
    chart.draw_series(points().map(|point| Circle::new(point, 3, BLUE.filled())))?;
    Ok(())
}
