//! The text format of Prometheus, version 0.0.4, for what is read at each scrape and not kept: a host that is gone is
//! gone from the next page.

use std::fmt::Write;

/// A page in the making.
#[derive(Default)]
pub struct Text {
    page: String,
}

impl Text {
    /// Begins a gauge: its samples follow. `name` is a metric's name and `help` one line.
    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge<'_> {
        // Writing to a string does not fail.
        let _ = writeln!(self.page, "# HELP {name} {help}\n# TYPE {name} gauge");
        Gauge { name: name.to_owned(), page: &mut self.page }
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.page
    }
}

/// One gauge of a page.
pub struct Gauge<'a> {
    name: String,
    page: &'a mut String,
}

impl Gauge<'_> {
    /// One sample. Label names are written as they are, values may hold anything.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.page.push_str(&self.name);
        for (i, (name, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.page, "{}{name}=\"{value}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.page, "{} {value}", if labels.is_empty() { "" } else { "}" });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_as_prometheus_reads_it() {
        let mut text = Text::default();
        text.gauge("a_bytes", "What it is").sample(&[("host", "x\"y\\z\n"), ("b", "c")], 1.5).sample(&[], 0.0);
        let expected = "# HELP a_bytes What it is\n# TYPE a_bytes gauge\na_bytes{host=\"x\\\"y\\\\z\\n\",b=\"c\"} 1.5\na_bytes 0\n";
        assert_eq!(text.finish(), expected);
    }
}
