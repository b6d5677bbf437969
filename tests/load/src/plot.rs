//! The outcomes as one SVG: cost per packet beside another server's, and the ramp. Plain text, no
//! fonts or scripts of elsewhere.

use std::fmt::Write as _;

use crate::report::Machine;
use crate::run::{Outcome, Step};
use crate::scenario::Scenario;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 820.0;
const LEFT: f64 = 70.0;
const PANEL_HEIGHT: f64 = 290.0;
const PANEL_WIDTH: f64 = 860.0;
const OURS: &str = "#1b6ca8";
const THEIRS: &str = "#b8b8b8";
const LOSS: &str = "#c0392b";

struct Panel {
    svg: String,
    top: f64,
    max: f64,
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        self.top + PANEL_HEIGHT * (1.0 - (value / self.max).min(1.0))
    }

    fn text(&mut self, x: f64, y: f64, size: u8, anchor: &str, text: &str) {
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.svg,
            "<text x='{x:.0}' y='{y:.0}' font-size='{size}' text-anchor='{anchor}'>{escaped}</text>"
        );
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, dash: &str) {
        let _ = writeln!(
            self.svg,
            "<line x1='{:.1}' y1='{:.1}' x2='{:.1}' y2='{:.1}' stroke='{colour}' \
             stroke-dasharray='{dash}'/>",
            from.0, from.1, to.0, to.1
        );
    }

    fn bar(&mut self, x: f64, width: f64, value: f64, colour: &str) {
        let y = self.y(value);
        let height = self.top + PANEL_HEIGHT - y;
        let _ = writeln!(
            self.svg,
            "<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}' fill='{colour}'/>"
        );
        self.text(
            x + width / 2.0,
            y - 4.0,
            11,
            "middle",
            &format!("{value:.1}"),
        );
    }

    fn axis(&mut self, title: &str) {
        let title_y = self.top - 14.0;
        self.text(LEFT, title_y, 15, "start", title);
        for part in 0..=4 {
            let value = self.max * f64::from(part) / 4.0;
            let y = self.y(value);
            self.line((LEFT, y), (LEFT + PANEL_WIDTH, y), "#e4e4e4", "");
            self.text(LEFT - 8.0, y + 4.0, 11, "end", &format!("{value:.0}"));
        }
    }
}

/// `beside`: whose figures stand beside.
pub(crate) fn svg(
    scenarios: &[Scenario],
    outcomes: &[Outcome],
    machine: &Machine,
    beside: &str,
) -> String {
    let mut panel = Panel {
        svg: format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' \
             font-family='sans-serif'>\n<rect width='100%' height='100%' fill='white'/>\n"
        ),
        top: 80.0,
        max: 40.0,
    };
    let heading = format!("{}, {}", machine.name, machine.date);
    panel.text(LEFT, 28.0, 13, "start", &heading);
    panel.text(LEFT, 46.0, 11, "start", &format!("beside: {beside}"));
    costs(&mut panel, scenarios, outcomes, machine);
    if let Some(ramp) = outcomes.iter().find(|o| !o.steps.is_empty()) {
        panel.top = 480.0;
        draw_ramp(&mut panel, &ramp.steps);
    }
    panel.svg.push_str("</svg>\n");
    panel.svg
}

fn costs(panel: &mut Panel, scenarios: &[Scenario], outcomes: &[Outcome], machine: &Machine) {
    panel.axis(
        "server CPU per forwarded packet, us: measured (blue), beside (grey), floor (dashed)",
    );
    let measured: Vec<(&Outcome, f64)> = outcomes
        .iter()
        .filter_map(|o| Some((o, o.us_per_packet.or(o.us_per_packet_total)?)))
        .collect();
    let slot = PANEL_WIDTH / measured.len().max(1) as f64;
    for (at, (outcome, us)) in measured.iter().enumerate() {
        let x = LEFT + slot * at as f64 + slot * 0.1;
        let scenario = scenarios.iter().find(|s| s.id == outcome.id);
        if let Some(theirs) = scenario.and_then(|s| s.beside) {
            panel.bar(x + slot * 0.4, slot * 0.38, theirs.us_per_packet, THEIRS);
        }
        panel.bar(x, slot * 0.38, *us, OURS);
        let below = panel.top + PANEL_HEIGHT + 18.0;
        panel.text(x + slot * 0.4, below, 12, "middle", &outcome.id);
    }
    if let Some(floor) = machine.floor_us {
        let y = panel.y(floor);
        panel.line((LEFT, y), (LEFT + PANEL_WIDTH, y), "black", "5,4");
    }
}

fn draw_ramp(panel: &mut Panel, steps: &[Step]) {
    panel.max = 100.0;
    panel.axis(
        "rising rate, 50 viewers: % of the server's core (blue), % lost (red), by kpps offered",
    );
    let most = steps.iter().map(|s| s.offered_pps).fold(1.0, f64::max);
    let x = |step: &Step| LEFT + PANEL_WIDTH * step.offered_pps / most;
    draw_curve(panel, steps, x, OURS, |step| step.server_share * 100.0);
    draw_curve(panel, steps, x, LOSS, |step| step.loss * 100.0);
    let below = panel.top + PANEL_HEIGHT + 18.0;
    for step in steps {
        let label = format!("{:.0}", step.offered_pps / 1e3);
        panel.text(x(step), below, 11, "middle", &label);
    }
}

fn draw_curve(
    panel: &mut Panel,
    steps: &[Step],
    x: impl Fn(&Step) -> f64,
    colour: &str,
    value: impl Fn(&Step) -> f64,
) {
    for two in steps.windows(2) {
        if let [a, b] = two {
            let from = (x(a), panel.y(value(a)));
            panel.line(from, (x(b), panel.y(value(b))), colour, "");
        }
    }
}
