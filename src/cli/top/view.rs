//! What `netrootfs top` shows: a status as tables, and which keys do what to them.
//!
//! Draws into a frame of any size; reads and writes nothing.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::ControlFlow;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::termion::event::Key;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use crate::tree::render::status::{self, Machine, Status};

const KEYS: &str = "q quits   s sorts   ↑ ↓ PgUp PgDn scroll";

/// By what machines are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As the status has them: those that are connected first, then the last one seen.
    Seen,
    Machine,
    Boots,
    Read,
    Rate,
}

/// The status, and how it is looked at.
pub struct View {
    status: Status,
    /// Bytes a second since the status before, by machine.
    rates: HashMap<String, u64>,
    order: Order,
    /// Machines above the first that is shown.
    offset: usize,
    /// Machines that fit.
    page: usize,
}

impl View {
    /// A first look.
    pub fn new(status: Status) -> Self {
        Self { status, rates: HashMap::new(), order: Order::Seen, offset: 0, page: 1 }
    }

    /// Another status. The same again is no news.
    pub fn take(&mut self, status: Status) {
        let seconds = status.time.saturating_sub(self.status.time);
        if seconds == 0 {
            return;
        }
        let read = |machine: &Machine| machine.root.as_ref().and_then(|root| root.read_bytes);
        let before: HashMap<_, _> =
            self.status.machines.iter().filter_map(|one| Some((one.name(), read(one)?))).collect();
        let rate = |machine: &Machine| {
            let more = read(machine)?.checked_sub(*before.get(machine.name())?)?;
            Some((machine.name().to_owned(), more / seconds))
        };
        self.rates = status.machines.iter().filter_map(rate).collect();
        self.status = status;
    }

    /// Does what a key says, which may be to end.
    pub fn press(&mut self, key: Key) -> ControlFlow<()> {
        match key {
            Key::Char('q') | Key::Ctrl('c') | Key::Esc => return ControlFlow::Break(()),
            Key::Char('s') => self.order = self.order.next(),
            Key::Up | Key::Char('k') => self.offset = self.offset.saturating_sub(1),
            Key::Down | Key::Char('j') => self.offset += 1,
            Key::PageUp => self.offset = self.offset.saturating_sub(self.page),
            Key::PageDown | Key::Char(' ') => self.offset += self.page,
            Key::Home => self.offset = 0,
            Key::End => self.offset = usize::MAX,
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Draws it.
    pub fn draw(&mut self, frame: &mut Frame) {
        let head: Vec<Line> = status::summary(&self.status).into_iter().map(Line::from).collect();
        let isos = 2 + self.status.isos.len() + self.status.left_out.len();
        let few = (frame.area().height / 3).min(u16::try_from(isos).unwrap_or(u16::MAX));
        let parts = [
            Constraint::Length(u16::try_from(head.len()).unwrap_or(u16::MAX)),
            Constraint::Fill(1),
            Constraint::Length(few),
            Constraint::Length(1),
        ];
        let [top, machines, isos, foot] = Layout::vertical(parts).areas(frame.area());
        frame.render_widget(Paragraph::new(head), top);
        self.draw_machines(frame, machines);
        self.draw_isos(frame, isos);
        frame.render_widget(Line::from(KEYS).dim(), foot);
    }

    fn draw_machines(&mut self, frame: &mut Frame, area: Rect) {
        self.page = usize::from(area.height.saturating_sub(2)).max(1);
        self.offset = self.offset.min(self.status.machines.len().saturating_sub(self.page));
        let columns = [
            ("MACHINE", Some(Order::Machine), Constraint::Length(15)),
            ("CARD", None, Constraint::Length(17)),
            ("BOOTS", Some(Order::Boots), Constraint::Fill(1)),
            ("STEP", None, Constraint::Length(7)),
            ("READ", Some(Order::Read), Constraint::Length(7)),
            ("READ/S", Some(Order::Rate), Constraint::Length(7)),
            ("SEEN", Some(Order::Seen), Constraint::Length(7)),
        ];
        let head = columns.map(|(title, order, _)| {
            let title = if order == Some(self.order) { title.bold().underlined() } else { title.bold() };
            let is_number = matches!(order, Some(Order::Read | Order::Rate | Order::Seen));
            if is_number { Text::from(title).right_aligned() } else { Text::from(title) }
        });
        let rows = self.sorted().into_iter().map(|machine| self.row(machine));
        let widths = columns.map(|(_, _, width)| width);
        let table = Table::new(rows, widths).header(Row::new(head).top_margin(1));
        frame.render_stateful_widget(table, area, &mut TableState::new().with_offset(self.offset));
    }

    fn sorted(&self) -> Vec<&Machine> {
        let mut machines: Vec<&Machine> = self.status.machines.iter().collect();
        match self.order {
            Order::Seen => {}
            Order::Machine => machines.sort_by_key(|one| address(one.name())),
            Order::Boots => machines.sort_by_key(|one| boots(one)),
            Order::Read => {
                machines.sort_by_key(|one| Reverse(one.root.as_ref().and_then(|root| root.read_bytes)));
            }
            Order::Rate => machines.sort_by_key(|one| Reverse(self.rates.get(one.name()))),
        }
        machines
    }

    fn row<'a>(&self, machine: &'a Machine) -> Row<'a> {
        let right = |text: String| Text::from(text).right_aligned();
        let root = machine.root.as_ref();
        let read = root.map_or(String::new(), |root| root.read_bytes.map_or("kernel".into(), status::bytes));
        let rate = self.rates.get(machine.name()).filter(|_| machine.connected);
        let step = machine.step.as_ref().map_or("", |step| step.code.as_str());
        let colour = match step {
            "failed" | "gave-up" | "lost" => Color::Red,
            _ => Color::Reset,
        };
        Row::new([
            Cell::from(machine.name()),
            Cell::from(machine.mac.as_deref().unwrap_or("-")),
            Cell::from(boots(machine)),
            Cell::from(step).fg(colour),
            Cell::from(right(read)),
            Cell::from(right(rate.map_or(String::new(), |rate| status::bytes(*rate)))),
            Cell::from(right(status::span(machine.last_seen, self.status.time))),
        ])
        .style(if machine.connected { Style::new().green() } else { Style::new() })
    }

    fn draw_isos(&self, frame: &mut Frame, area: Rect) {
        let served = self.status.isos.iter().map(|iso| {
            let by = match (&iso.boots_by, &iso.caveat) {
                (Some(by), None) => Cell::from(by.as_str()),
                (Some(by), Some(caveat)) => Cell::from(format!("{by}: {caveat}")),
                (None, caveat) => Cell::from(caveat.as_deref().unwrap_or("not at all")).red(),
            };
            Row::new([Cell::from(iso.label.as_str()), Cell::from(status::bytes(iso.size)), by])
        });
        let left_out = self.status.left_out.iter().map(|file| {
            Row::new([file.file.clone(), "-".into(), format!("not served: {}", file.reason)]).red()
        });
        let widths = [Constraint::Max(32), Constraint::Length(7), Constraint::Fill(1)];
        let head = Row::new(["ISO", "SIZE", "BOOTS BY"]).bold().top_margin(1);
        frame.render_widget(Table::new(served.chain(left_out), widths).header(head), area);
    }
}

impl Order {
    fn next(self) -> Self {
        match self {
            Self::Seen => Self::Machine,
            Self::Machine => Self::Boots,
            Self::Boots => Self::Read,
            Self::Read => Self::Rate,
            Self::Rate => Self::Seen,
        }
    }
}

/// What it boots: the label in its kernel's or its image's name.
fn boots(machine: &Machine) -> &str {
    let kernel = machine.kernel.as_ref().map(|kernel| kernel.path.as_str());
    let path = kernel.or(machine.root.as_ref().map(|root| root.path.as_str())).unwrap_or("");
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_prefix("vmlinuz_").unwrap_or(name)
}

/// So that 10.0.0.9 comes before 10.0.0.10, and addresses before cards.
fn address(name: &str) -> (bool, Option<std::net::IpAddr>, &str) {
    let address = name.parse().ok();
    (address.is_none(), address, name)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::tree::render::status::{Fetched, Iso, LeftOut, Root, Step};

    fn machine(last: u8, label: &str, read: u64) -> Machine {
        Machine {
            addresses: vec![format!("10.0.0.{last}")],
            mac: Some(format!("52:54:00:00:00:{last:02x}")),
            kernel: Some(Fetched { path: format!("tftp/vmlinuz_{label}"), time: 990 }),
            root: Some(Root { path: "images/x".into(), read_bytes: Some(read), ..Root::default() }),
            step: Some(Step { code: "init".into(), time: 995 }),
            last_seen: 1000 - u64::from(last),
            connected: true,
            ..Machine::default()
        }
    }

    fn status(machines: Vec<Machine>) -> Status {
        Status {
            version: "1.2.3".into(),
            mountpoint: "/srv/netboot".into(),
            time: 1000,
            iso_directory_readable: true,
            isos: vec![Iso { label: "F42".into(), boots_by: Some("NBD".into()), ..Iso::default() }],
            left_out: vec![LeftOut {
                file: "junk.iso".into(),
                reason: "it is junk".into(),
                ..LeftOut::default()
            }],
            machines,
            ..Status::default()
        }
    }

    fn screen(view: &mut View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content().chunks(usize::from(width.max(1)));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned())
            .collect()
    }

    /// The last numbers of the addresses that are shown.
    fn shown(view: &mut View) -> Vec<String> {
        let lines = screen(view, 80, 24);
        let of = |line: &String| Some(line.strip_prefix("10.0.0.")?.split(' ').next()?.to_owned());
        lines.iter().filter_map(of).collect()
    }

    fn press(view: &mut View, key: Key) -> bool {
        view.press(key).is_break()
    }

    #[test]
    fn machines_are_rows_of_eighty_characters() {
        let mut view = View::new(status(vec![machine(9, "F42", 350_000_000)]));
        let lines = screen(&mut view, 80, 24);
        assert_eq!(lines[0], "netrootfs 1.2.3 on /srv/netboot, up 16 min");
        let row = lines.iter().position(|line| line.starts_with("MACHINE")).unwrap();
        assert_eq!(
            lines[row..row + 2],
            [
                "MACHINE         CARD              BOOTS          STEP       READ  READ/S    SEEN",
                "10.0.0.9        52:54:00:00:00:09 F42            init     350 MB             9 s",
            ]
        );
        assert!(lines.iter().any(|line| line.starts_with("F42") && line.ends_with("NBD")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.ends_with("not served: it is junk")), "{lines:#?}");
        assert_eq!(lines[23], KEYS);
    }

    #[test]
    fn what_was_read_meanwhile_is_a_rate() {
        let mut view = View::new(status(vec![machine(9, "F42", 1_000_000)]));
        view.take(Status { time: 1002, ..status(vec![machine(9, "F42", 9_000_000)]) });
        assert!(screen(&mut view, 80, 24).iter().any(|line| line.contains("9.0 MB  4.0 MB")));
        view.take(Status { time: 1002, ..status(Vec::new()) });
        assert_eq!(shown(&mut view), ["9"], "the same again");
        view.take(Status { time: 1004, ..status(vec![machine(9, "F42", 5)]) });
        assert_eq!(view.rates.len(), 0, "another boot");
    }

    #[test]
    fn s_sorts_by_the_next_column() {
        let of = |reads: [u64; 3]| {
            let [one, two, three] = reads;
            status(vec![machine(20, "B", one), machine(9, "C", two), machine(100, "A", three)])
        };
        let mut view = View::new(of([5, 50, 7]));
        view.take(Status { time: 1001, ..of([20, 55, 17]) });
        let mut orders = Vec::new();
        for _ in 0..6 {
            orders.push(shown(&mut view).join(" "));
            assert!(!press(&mut view, Key::Char('s')));
        }
        assert_eq!(orders, ["20 9 100", "9 20 100", "100 20 9", "9 20 100", "20 100 9", "20 9 100"]);
    }

    #[test]
    fn many_machines_are_scrolled() {
        let mut view = View::new(status((1..=100).map(|last| machine(last, "F42", 1)).collect()));
        let first = shown(&mut view);
        assert_eq!(first[0], "1");
        press(&mut view, Key::Down);
        assert_eq!(shown(&mut view)[0], "2");
        press(&mut view, Key::PageDown);
        assert_eq!(shown(&mut view)[0], (2 + first.len()).to_string());
        press(&mut view, Key::End);
        assert_eq!(shown(&mut view).last().unwrap(), "100");
        for key in [Key::PageUp, Key::Up, Key::Home] {
            press(&mut view, key);
        }
        assert_eq!(shown(&mut view), first);
    }

    #[test]
    fn any_size_will_do() {
        let mut view = View::new(status((1..=100).map(|last| machine(last, "F42", 1)).collect()));
        for (width, height) in [(0, 0), (1, 1), (20, 3), (80, 8), (300, 200)] {
            assert_eq!(
                screen(&mut view, width, height).len(),
                usize::from(if width > 0 { height } else { 0 })
            );
        }
    }

    #[test]
    fn q_and_control_c_end_it() {
        let mut view = View::new(status(Vec::new()));
        assert!([Key::Char('q'), Key::Ctrl('c'), Key::Esc].into_iter().all(|key| press(&mut view, key)));
        assert!(!press(&mut view, Key::Char('x')));
    }

    #[test]
    fn no_name_is_a_command_to_the_terminal() {
        let mut view = View::new(status(vec![machine(9, "a\u{1b}[2J", 1)]));
        assert!(!screen(&mut view, 80, 24).concat().contains(char::is_control));
    }
}
