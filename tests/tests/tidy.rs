//! The house rules a compiler does not check: headers, sizes, widths, leftovers. What is too large
//! today stands in `tidy_exceptions.txt` with its size and may only shrink.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use skein_tests::{root, rust_sources};

/// Code lines before the test module.
const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;
const LEFTOVERS: &[&str] = &["todo!(", "unimplemented!(", "dbg!(", "FIXME", "TODO", "XXX"];

fn exceptions() -> BTreeMap<String, usize> {
    let text =
        std::fs::read_to_string(root().join("tests/tidy_exceptions.txt")).unwrap_or_default();
    text.lines()
        .filter(|l| !l.starts_with('#') && !l.trim().is_empty())
        .map(|l| {
            let (name, size) = l.rsplit_once(' ').expect("NAME SIZE");
            (name.to_string(), size.parse().expect("a size"))
        })
        .collect()
}

/// Lines that are neither blank nor comment, up to the inline test module.
fn code_lines(text: &str) -> usize {
    text.split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or(text)
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with("//"))
        .count()
}

/// (name, lines) of every function; rustfmt puts the closing brace at the indentation of `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        let words = body.split('(').next().unwrap_or(body);
        let Some(name) = words.split("fn ").nth(1).filter(|_| {
            ["fn ", "pub fn ", "pub(", "async fn ", "const fn "]
                .iter()
                .any(|p| body.starts_with(p))
        }) else {
            continue;
        };
        let end = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|l| *l == end) {
            let declaration_only = lines[start..start + length]
                .iter()
                .any(|l| l.ends_with(';'))
                && !lines[start..=start + length]
                    .iter()
                    .any(|l| l.ends_with('{'));
            if !declaration_only {
                found.push((
                    name.split('<').next().unwrap_or(name).to_string(),
                    length + 1,
                ));
            }
        }
    }
    found
}

#[test]
fn every_file_opens_with_a_header() {
    let missing: Vec<_> = rust_sources()
        .into_iter()
        .filter(|path| {
            let text = std::fs::read_to_string(root().join(path)).unwrap();
            !text.starts_with("//! ")
        })
        .collect();
    assert!(missing.is_empty(), "no //! header: {missing:#?}");
}

#[test]
fn files_and_functions_stay_small() {
    let exceptions = exceptions();
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for path in rust_sources() {
        let name = path.to_string_lossy().to_string();
        if name.contains("/tests") || name.starts_with("tests/") || name.contains("benches") {
            continue;
        }
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        let mut check = |what: String, size: usize, max: usize| {
            let allowed = exceptions.get(&what).copied().unwrap_or(max).max(max);
            if size > max {
                seen.insert(what.clone(), size);
            }
            if size > allowed {
                wrong.push(format!("{what} {size}"));
            }
        };
        check(name.clone(), code_lines(&text), FILE_LINES_MAX);
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(&text);
        for (function, lines) in functions(code) {
            check(format!("{name}::{function}"), lines, FUNCTION_LINES_MAX);
        }
    }
    let stale: Vec<_> = exceptions
        .keys()
        .filter(|k| !seen.contains_key(*k))
        .collect();
    assert!(
        wrong.is_empty(),
        "too large (name lines):\n{}",
        wrong.join("\n")
    );
    assert!(
        stale.is_empty(),
        "no longer too large, drop from tidy_exceptions.txt: {stale:#?}"
    );
}

#[test]
fn lines_fit_and_nothing_is_left_over() {
    let mut wrong = Vec::new();
    for path in rust_sources() {
        let name = path.to_string_lossy().to_string();
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let width = line.chars().count();
            if width > COLUMNS_MAX && !line.contains("http") && !line.contains('"') {
                wrong.push(format!("{name}:{}: {width} columns", number + 1));
            }
            if name == "tests/tests/tidy.rs" {
                continue;
            }
            for word in LEFTOVERS.iter().filter(|w| line.contains(**w)) {
                wrong.push(format!("{name}:{}: leftover {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
