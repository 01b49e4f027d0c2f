//! Draws times by percentile as an SVG: the further right, the rarer. Pure.

use std::fmt::Write as _;

use super::tally::Times;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 46.0;

/// Told apart without colour too: each line has its own dashes.
const STYLES: [(&str, &str); 4] =
    [("#0b5cad", ""), ("#c2410c", "6 4"), ("#15803d", "2 3"), ("#7e22ce", "10 3 2 3")];

/// One line of the plot.
pub struct Line<'t> {
    /// Its name in the legend.
    pub name: &'static str,
    /// What it shows.
    pub times: &'t Times,
}

/// Draws the lines; those without any time are left out.
pub fn draw(title: &str, lines: &[Line<'_>]) -> String {
    let lines: Vec<(&str, Vec<(f64, f64)>)> = lines
        .iter()
        .map(|line| (line.name, points(line.times)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let nines = all().map(|(x, _)| *x).fold(1.0, f64::max).ceil();
    let low = all().map(|(_, y)| y.floor()).fold(f64::INFINITY, f64::min).clamp(-6.0, 6.0);
    let high = all().map(|(_, y)| y.ceil()).fold(low + 1.0, f64::max);
    let x = |value: f64| LEFT + value / nines * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{}</text>\n",
        escape(title)
    );
    for decade in low as i32..=high as i32 {
        let at = y(f64::from(decade));
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{} ms</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            10_f64.powi(decade)
        );
    }
    let ticks = [(0.0, "0".to_owned()), (2_f64.log10(), "50".to_owned())];
    let more = (1..=nines as usize).map(|n| (n as f64, percent(n)));
    for (place, label) in ticks.into_iter().chain(more) {
        let at = x(place);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#eee\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{label}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 18.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">percentile</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0
    );
    for (nth, (name, points)) in lines.iter().enumerate() {
        let (colour, dashes) = STYLES[nth % STYLES.len()];
        let path: Vec<String> =
            points.iter().map(|(px, py)| format!("{:.1} {:.1}", x(*px), y(*py))).collect();
        let legend = LEFT + 180.0 * nth as f64;
        let stroke =
            format!("stroke=\"{colour}\" stroke-dasharray=\"{dashes}\" fill=\"none\" stroke-width=\"2\"");
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" {stroke}/>\n<path d=\"M{legend} 34h24\" {stroke}/><text x=\"{}\" y=\"38\">{}</text>",
            path.join("L"),
            legend + 30.0,
            escape(name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Number of nines against the logarithm of milliseconds.
fn points(times: &Times) -> Vec<(f64, f64)> {
    let all = times.histogram();
    // The last point stands for the one slowest call of all.
    let most = (all.len().max(10) as f64).log10();
    all.iter_quantiles(10)
        .map(|step| {
            let rest = (1.0 - step.quantile_iterated_to()).max(f64::MIN_POSITIVE);
            let milliseconds = (step.value_iterated_to() as f64 / 1e6).max(1e-6);
            ((-rest.log10()).min(most), milliseconds.log10())
        })
        .collect()
}

fn percent(nines: usize) -> String {
    match nines {
        1 => "90".to_owned(),
        2 => "99".to_owned(),
        more => format!("99.{}", "9".repeat(more - 2)),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_rises_from_the_usual_to_the_rare() {
        let mut times = Times::new();
        for n in 1..=1000 {
            times.add(n * 1_000_000);
        }
        let (none, svg) = (Times::new(), String::new());
        assert!(svg.is_empty());
        let svg =
            draw("a <b> & c", &[Line { name: "all", times: &times }, Line { name: "none", times: &none }]);
        assert!(svg.contains("a &lt;b&gt; &amp; c") && svg.contains(">99.9<") && svg.contains(">1000 ms<"));
        assert!(!svg.contains("none</text>"), "a line without points is left out");
        let path = svg.lines().find(|line| line.starts_with("<path d=\"M") && line.contains("stroke-width"));
        let numbers: Vec<(f64, f64)> = path
            .unwrap()
            .trim_start_matches("<path d=\"M")
            .split('"')
            .next()
            .unwrap()
            .split('L')
            .map(|point| {
                let (x, y) = point.split_once(' ').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            })
            .collect();
        assert!(numbers.len() > 20);
        for pair in numbers.windows(2) {
            assert!(pair[1].0 >= pair[0].0 && pair[1].1 <= pair[0].1, "{pair:?}");
        }
        for (x, y) in numbers {
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{x} {y}");
        }
    }

    #[test]
    fn nothing_measured_still_gives_a_plot() {
        let svg = draw("empty", &[]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
        assert!(!svg.contains("inf"), "{svg}");
    }
}
