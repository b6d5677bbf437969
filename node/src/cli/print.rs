//! How answers look: JSON for programs, tables whose columns fit their content for people.

use std::io::{self, Write};

use serde_json::Value;

use super::CliError;

pub(super) fn json(answer: &Value) -> Result<(), CliError> {
    writeln!(io::stdout(), "{}", serde_json::to_string_pretty(answer)?)?;
    Ok(())
}

/// Columns as wide as their widest cell, numbers to the right.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(head[column].chars().count())
    };
    let number = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column));
        cells.all(|cell| cell.parse::<f64>().is_ok())
    };
    let columns: Vec<(usize, bool)> = (0..head.len()).map(|at| (width(at), number(at))).collect();
    let mut out = io::stdout().lock();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&columns).map(|(cell, (width, right))| {
            if *right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let text = padded.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", text.trim_end())
    };
    line(&mut head.iter().copied())?;
    for row in rows {
        line(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// One line a field, names to the left; inner objects as `outer.inner`.
pub(super) fn fields(answer: &Value) -> Result<(), CliError> {
    let mut rows = Vec::new();
    for (key, value) in answer.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) => {
                rows.extend(inner.iter().map(|(k, v)| (format!("{key}.{k}"), plain(v))));
            }
            value => rows.push((key.clone(), plain(value))),
        }
    }
    let width = rows.iter().map(|(key, _)| key.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut out = io::stdout().lock();
    for (key, value) in rows {
        writeln!(out, "{key:<width$}  {value}")?;
    }
    Ok(())
}

/// A scalar without quotes; control characters of names given by users do not reach the terminal.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect(),
        Value::Null => String::new(),
        value => value.to_string(),
    }
}
