//! Times and sizes as a person reads them. Pure: `now` is a parameter.

use jiff::Timestamp;

/// How long ago, or how soon, an RFC 3339 time is: `3m ago`, `in 12m`, `just now`. What is no time stays as it is.
pub(super) fn age(time: &str, now: Timestamp) -> String {
    let Ok(then) = time.parse::<Timestamp>() else { return time.to_owned() };
    let seconds = now.as_second() - then.as_second();
    let span = span(seconds.unsigned_abs());
    match seconds {
        -4..=4 => "just now".to_owned(),
        5.. => format!("{span} ago"),
        _ => format!("in {span}"),
    }
}

/// A span in its largest whole unit: `42s`, `3m`, `5h`, `12d`, `2y`.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        86_400..31_536_000 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

/// A number of bytes with three digits or so and a binary unit (IEC 80000-13): `512 B`, `1.5 GiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10 / 1024;
    while tenths >= 10_240 && unit < UNITS.len() - 1 {
        tenths /= 1024;
        unit += 1;
    }
    if tenths < 1000 && tenths % 10 != 0 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_the_largest_unit_and_know_the_future() {
        let now: Timestamp = "2025-01-02T00:00:00Z".parse().unwrap();
        for (time, expected) in [
            ("2025-01-01T23:59:58Z", "just now"),
            ("2025-01-01T23:59:18Z", "42s ago"),
            ("2025-01-01T23:56:01Z", "3m ago"),
            ("2025-01-01T18:59:59.5Z", "5h ago"),
            ("2025-01-01T00:00:00Z", "1d ago"),
            ("2024-12-01T00:00:00Z", "32d ago"),
            ("2022-01-01T00:00:00Z", "3y ago"),
            ("2025-01-02T00:12:00Z", "in 12m"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(age(time, now), expected, "{time}");
        }
    }

    #[test]
    fn sizes_have_three_digits_or_so_and_a_binary_unit() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (128 * 1024 * 1024, "128 MiB"),
            (1_610_612_736, "1.5 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
