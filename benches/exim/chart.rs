//! The picture: connections a second as a share of Exim alone, one panel for each kind of triplet.

use crate::measure::{Results, WORKLOADS};
use crate::report::figures;

const LABELS: u32 = 185;
const PANEL: u32 = 210;
const BAR: u32 = 140;
const ROW: u32 = 26;
const TOP: u32 = 64;

/// An SVG with its own background, so that it can be read wherever it is shown; dark where the reader prefers that.
pub fn draw(results: &[Results]) -> String {
    let rows = results.len().saturating_sub(1) as u32;
    let (width, height) = (LABELS + WORKLOADS.len() as u32 * PANEL + 10, TOP + rows * ROW + 34);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Connections per second, as a share of Exim alone\">\n\
         <style>\n\
         text {{ font: 13px system-ui, sans-serif; fill: #1f2328 }}\n\
         .page {{ fill: #ffffff }} .room {{ fill: #eaeef2 }} .peer {{ fill: #8c959f }} .ours {{ fill: #1a7f64 }}\n\
         .head {{ font-weight: 600 }} .note {{ font-size: 12px; fill: #59636e }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         text {{ fill: #e6edf3 }} .page {{ fill: #0d1117 }} .room {{ fill: #21262d }} .peer {{ fill: #6e7681 }}\n\
         .ours {{ fill: #3fb68b }} .note {{ fill: #9198a1 }}\n\
         }}\n\
         </style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\n\
         <text class=\"head\" x=\"14\" y=\"24\">Connections per second, as a share of Exim without greylisting</text>\n"
    );
    for (panel, workload) in (0..).zip(WORKLOADS) {
        let x = LABELS + panel * PANEL;
        svg += &format!("<text class=\"head\" x=\"{x}\" y=\"{}\">{}</text>\n", TOP - 12, workload.name());
        let all = figures(results, workload);
        for (row, (name, figures)) in (0..).zip(all.iter().skip(1)) {
            let y = TOP + row * ROW;
            let text = y + 15;
            if panel == 0 {
                svg += &format!("<text x=\"14\" y=\"{text}\">{name}</text>\n");
            }
            let class = if name.starts_with("eximgrey") { "ours" } else { "peer" };
            let length = (figures.ratio.clamp(0.0, 1.0) * f64::from(BAR)).max(1.0);
            svg += &format!(
                "<rect class=\"room\" x=\"{x}\" y=\"{y}\" width=\"{BAR}\" height=\"20\" rx=\"2\"/>\
                 <rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{length:.0}\" height=\"20\" rx=\"2\"/>\
                 <text x=\"{}\" y=\"{text}\">{:.0} %</text>\n",
                x + BAR + 8,
                figures.ratio * 100.0
            );
        }
    }
    svg += &format!(
        "<text class=\"note\" x=\"14\" y=\"{}\">Four connections at a time, one recipient each, in a live Exim. \
         Longer is better; the whole width is Exim alone.</text>\n</svg>\n",
        height - 12
    );
    svg
}
