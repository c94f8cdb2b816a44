//! The charts, as SVG for a page: what plotters draws, with our own head. Colours are those of the light
//! page; report.css puts others in their place by the very values.

use super::figures::Counts;
use super::wording::number;
use eximgrey::time::{Seconds, Timestamp};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::error::Error;
use std::io;

/// What stands in a bar, from the bottom up.
pub const PASSED: RGBColor = RGBColor(0x2a, 0x8c, 0x82);
pub const CAME_BACK: RGBColor = RGBColor(0xd9, 0x96, 0x2e);
pub const HELD: RGBColor = RGBColor(0x55, 0x74, 0xb8);
pub const FAULTS: RGBColor = RGBColor(0xc4, 0x3d, 0x4b);
const INK: RGBColor = RGBColor(0x5b, 0x63, 0x6e);
const GRID: RGBColor = RGBColor(0xe2, 0xe5, 0xea);

/// Plotters draws on whole pixels: so many of them for each on the screen.
const FINE: i32 = 4;

/// How large a chart is, in pixels of the screen.
#[derive(Clone, Copy)]
pub struct Size {
    /// `wide` or `narrow`: which screen it is for, as report.css has it.
    pub class: &'static str,
    pub width: i32,
    pub height: i32,
    /// Most bars, and most marks below them.
    pub bars: usize,
    marks: usize,
}

pub const WIDE: Size = Size { class: "wide", width: 880, height: 260, bars: 170, marks: 8 };
pub const NARROW: Size = Size { class: "narrow", width: 360, height: 220, bars: 60, marks: 4 };

/// A chart for a page.
pub struct Chart {
    pub size: Size,
    /// What is within the element `svg`.
    pub content: String,
}

impl Chart {
    pub fn view_box(&self) -> String {
        format!("0 0 {} {}", self.size.width * FINE, self.size.height * FINE)
    }
}

type Drawn = Result<(), Box<dyn Error + Send + Sync>>;

fn draw(size: Size, draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Drawn) -> io::Result<Chart> {
    let mut svg = String::new();
    let area = [size.width, size.height].map(|length| (length * FINE) as u32);
    {
        let root = SVGBackend::with_string(&mut svg, area.into()).into_drawing_area();
        draw(&root).map_err(io::Error::other)?;
        root.present().map_err(io::Error::other)?;
    }
    // Our own head says what it shows, and has no size.
    let (_, content) = svg.split_once('>').unwrap_or_default();
    let content = content.trim().trim_end_matches("</svg>");
    let content = [" opacity=\"1\"", " stroke=\"none\"", " font-family=\"sans-serif\""]
        .iter()
        .fold(content.to_owned(), |svg, said| svg.replace(said, ""));
    Ok(Chart { size, content })
}

/// Decisions over time: a bar each, of parts.
pub fn over_time(rows: &[(Timestamp, Counts)], step: Seconds, size: Size) -> io::Result<Chart> {
    let parts = |counts: &Counts| {
        [
            (counts.passed_at_once(), PASSED),
            (counts.came_back(), CAME_BACK),
            (counts.held(), HELD),
            (counts.errors(), FAULTS),
        ]
    };
    let bars: Vec<Vec<(u64, RGBColor)>> = rows.iter().map(|(_, counts)| parts(counts).to_vec()).collect();
    let marks = marks(rows, step, size.marks);
    let label = |place: usize| rows.get(place).map_or_else(String::new, |(time, _)| mark(*time, step));
    draw(size, |root| Ok(drawn_bars(root, size, &bars, (&marks, 0.0), &label)?))
}

/// How long retries had waited: a bar for each bucket.
pub fn waits(histogram: &[(Seconds, Option<Seconds>, u64)], size: Size) -> io::Result<Chart> {
    let bars: Vec<_> = histogram.iter().map(|(.., n)| vec![(*n, CAME_BACK)]).collect();
    // Between two bars stands the time that parts them.
    let every = histogram.len().div_ceil(size.marks * 2).max(1);
    let marks: Vec<usize> = (0..histogram.len()).step_by(every).collect();
    let label = |place: usize| histogram.get(place).map_or_else(String::new, |(from, ..)| from.to_string());
    draw(size, |root| Ok(drawn_bars(root, size, &bars, (&marks, 0.5), &label)?))
}

/// What a bar has of an axis; a mark on one in fractions has no labels.
const BAR: f64 = 1_000.0;

/// `shift`: how far before the middle of its bar a mark stands.
fn drawn_bars<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    size: Size,
    bars: &[Vec<(u64, RGBColor)>],
    (marks, shift): (&[usize], f64),
    label: &dyn Fn(usize) -> String,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let highest = bars.iter().map(|parts| parts.iter().map(|(n, _)| n).sum::<u64>()).max().unwrap_or(0);
    let font = |color: &RGBColor| ("sans-serif", 12 * FINE).into_font().color(color);
    let at = |place: usize, shift: f64| ((place as f64 + shift) * BAR) as i32;
    let marked = marks.iter().map(|place| at(*place, -shift)).collect();
    let mut chart = ChartBuilder::on(root)
        .margin_top(10 * FINE)
        .margin_right(12 * FINE)
        .x_label_area_size(28 * FINE)
        .y_label_area_size((14 + 7 * number(highest).len() as i32) * FINE)
        .build_cartesian_2d(
            (at(0, -0.5)..at(bars.len(), -0.5)).with_key_points(marked),
            0.0..(highest.max(1) as f64 * 1.04),
        )?;
    let plain =
        |color: RGBColor| ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: FINE as u32 };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(plain(GRID))
        .axis_style(plain(GRID))
        .y_labels(if size.height < 240 { 4 } else { 5 })
        .x_label_formatter(&|place| label((f64::from(*place) / BAR + shift).round().max(0.0) as usize))
        // Less than one is not counted.
        .y_label_formatter(&|count| if count.fract() == 0.0 { number(*count as u64) } else { String::new() })
        .x_label_style(font(&INK))
        .y_label_style(font(&INK))
        .set_all_tick_mark_size(4 * FINE)
        .draw()?;
    let half = if bars.len() > size.width as usize / 6 { 0.5 } else { 0.42 };
    for (place, parts) in bars.iter().enumerate() {
        let mut from = 0.0;
        for (n, color) in parts.iter().filter(|(n, _)| *n > 0) {
            let to = from + *n as f64;
            let corners = [(at(place, -half), from), (at(place, half), to)];
            chart.draw_series([Rectangle::new(corners, color.filled())])?;
            from = to;
        }
    }
    Ok(())
}

/// Hours between two marks.
const HOURS: [u32; 10] = [1, 3, 6, 12, 24, 48, 168, 672, 2_688, 8_064];

/// The rows that have a mark: at whole days or hours, and not too many.
fn marks(rows: &[(Timestamp, Counts)], step: Seconds, most: usize) -> Vec<usize> {
    let marked = |hours: &u32| -> Vec<usize> {
        let (span, step) = (hours * 3_600, step.0.max(1));
        // Days and weeks are counted from the first row's on.
        let first = rows
            .first()
            .map_or(0, |(time, _)| if span > 86_400 { time.0.div_ceil(86_400) * 86_400 } else { 0 });
        let hit = |time: &Timestamp| time.0 >= first && (time.0 - first) % span < step;
        rows.iter().enumerate().filter(|(_, (time, _))| hit(time)).map(|(place, _)| place).collect()
    };
    HOURS.iter().map(marked).find(|marks| marks.len() <= most).unwrap_or_default()
}

/// `16:00` or `27 Nov`.
fn mark(time: Timestamp, step: Seconds) -> String {
    let text = time.to_string();
    let part = |from, to| text.get(from..to).unwrap_or_default();
    if step < Seconds::DAY && !time.0.is_multiple_of(86_400) {
        return part(11, 16).into();
    }
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = part(5, 7).parse::<usize>().ok().and_then(|month| months.get(month.checked_sub(1)?));
    format!("{} {}", part(8, 10).trim_start_matches('0'), month.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(many: u32, step: Seconds) -> Vec<(Timestamp, Counts)> {
        let counts = |n| Counts { reasons: [n; eximgrey::reply::Reason::ALL.len()], ..Counts::default() };
        (0..many).map(|n| (Timestamp(1_764_201_600 + n * step.0), counts(n.into()))).collect()
    }

    /// A chart shows a bar for each part, has no outside resource and no script, and fits its labels.
    #[test]
    fn a_chart_is_drawn_of_rectangles_and_words() {
        for (many, step) in
            [(0, Seconds::HOUR), (1, Seconds::HOUR), (168, Seconds::HOUR), (105, Seconds(604_800))]
        {
            for size in [WIDE, NARROW] {
                let svg = over_time(&rows(many, step), step, size).unwrap().content;
                // The first row has only zeros.
                let bars = (many as usize).saturating_sub(1) * 4;
                assert_eq!(svg.matches("<rect").count(), bars, "{svg}");
                let marks = marks(&rows(many, step), step, size.marks);
                assert!(marks.len() <= size.marks && marks.is_empty() == (many == 0), "{marks:?}");
                assert!(!svg.contains("href") && !svg.contains("<script") && !svg.contains("<svg"));
            }
        }
    }

    #[test]
    fn marks_are_days_where_there_are_days() {
        assert_eq!(mark(Timestamp(1_764_201_600), Seconds::HOUR), "27 Nov");
        assert_eq!(mark(Timestamp(1_764_201_600 + 3_600), Seconds::HOUR), "01:00");
        assert_eq!(marks(&rows(168, Seconds::HOUR), Seconds::HOUR, 8), [0, 24, 48, 72, 96, 120, 144]);
        assert_eq!(marks(&rows(24, Seconds::HOUR), Seconds::HOUR, 8), [0, 3, 6, 9, 12, 15, 18, 21]);
    }
}
