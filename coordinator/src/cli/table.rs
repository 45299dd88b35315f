//! Aligned tables: a header in capitals, two spaces between columns, nothing after the last one. Used by every `ls`.

use super::{
    console::{Console, Style},
    error::{CliError, Shown},
};

/// One cell.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    /// Plain text from anywhere; empty shows as `-`.
    pub(super) fn text(text: &str) -> Self {
        let text = if text.is_empty() { "-".to_owned() } else { Shown(text).to_string() };
        Self { text, ..Self::default() }
    }

    /// A state, in its colour.
    pub(super) fn state(state: &str) -> Self {
        Self { style: Style::of_state(state), ..Self::text(state) }
    }

    /// A number, aligned to the right.
    pub(super) fn number(text: &str) -> Self {
        Self { right: true, ..Self::text(text) }
    }
}

/// Rows under a header.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    header: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    /// No rows yet.
    pub(super) const fn new(header: [&'static str; N]) -> Self {
        Self { header, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// The lines of the table, with colours or without.
    pub(super) fn lines(&self, color: bool) -> Vec<String> {
        let width = |text: &str| text.chars().count();
        let widths: [usize; N] = std::array::from_fn(|i| {
            self.rows.iter().map(|row| width(&row[i].text)).max().unwrap_or(0).max(width(self.header[i]))
        });
        let right: [bool; N] = std::array::from_fn(|i| self.rows.iter().any(|row| row[i].right));
        let line = |cells: [(&str, Style); N]| {
            let mut line = String::new();
            for (i, (text, style)) in cells.into_iter().enumerate() {
                let padding = " ".repeat(widths[i] - width(text));
                let painted = style.paint(color, text);
                match (right[i], i + 1 == N) {
                    (true, _) => line.extend([padding.as_str(), painted.as_str()]),
                    (false, true) => line.push_str(&painted),
                    (false, false) => line.extend([painted.as_str(), padding.as_str()]),
                }
                if i + 1 < N {
                    line.push_str("  ");
                }
            }
            line
        };
        let mut lines = vec![line(std::array::from_fn(|i| (self.header[i], Style::Bold)))];
        lines.extend(self.rows.iter().map(|row| line(std::array::from_fn(|i| (row[i].text.as_str(), row[i].style)))));
        lines
    }

    /// Writes the table.
    pub(super) fn print(&self, console: &mut Console) -> Result<(), CliError> {
        let color = console.color;
        self.lines(color).iter().try_for_each(|line| console.line(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_is_in_them_and_colours_do_not_count() {
        let mut table = Table::new(["NAME", "SIZE", "STATE"]);
        table.row([Cell::text("blog"), Cell::number("7"), Cell::state("running")]);
        table.row([Cell::text("a\u{1b}[2J"), Cell::number("1024"), Cell::state("")]);
        assert_eq!(
            table.lines(false),
            ["NAME        SIZE  STATE", "blog           7  running", "a\\u{1b}[2J  1024  -"]
        );
        assert_eq!(table.lines(true)[1], "blog           7  \u{1b}[32mrunning\u{1b}[0m");
    }
}
