//! Data flows from routes to domain to store, and never the other way.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A room, and what none of its files may name.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("routes", &["crate::store", "tokio_postgres", "deadpool_postgres"]),
    (
        "domain",
        &[
            "actix",
            "crate::routes",
            "crate::error",
            "crate::app",
            "crate::jobs",
            "tokio_postgres",
            "deadpool_postgres",
        ],
    ),
    ("store", &["actix", "crate::routes", "crate::domain", "crate::error", "crate::app", "crate::jobs"]),
    ("jobs", &["actix", "crate::store", "tokio_postgres", "deadpool_postgres"]),
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The lines of code that name something, without comments.
fn namings(text: &str, forbidden: &str) -> Vec<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.filter(|line| line.contains(forbidden)).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn no_file_names_a_room_that_it_must_not_know() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut looked_at = 0;
    for (room, forbidden) in FORBIDDEN {
        for file in files(&source.join(room)) {
            // `use crate::{store::…}` says the same in another form.
            let text = fs::read_to_string(&file).unwrap();
            let flat = flatten(&text);
            for name in forbidden {
                let found = namings(&flat, name);
                assert!(found.is_empty(), "{} names {name}: {found:?}", file.display());
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 20, "{looked_at} files");
}

#[test]
fn a_grouped_import_is_seen_too() {
    assert_eq!(
        flatten("use crate::{\n    domain::{Identity, group},\n    store::user,\n};"),
        "use crate::domain::{Identity, group};use crate::store::user;"
    );
    assert!(namings("let x = 1; // crate::store", "crate::store").is_empty());
}

/// The text, with each `use crate::{a, b};` written as `use crate::a; use crate::b;`.
fn flatten(text: &str) -> String {
    let Some((before, rest)) = text.split_once("use crate::{") else { return text.to_owned() };
    let mut depth = 1_usize;
    let mut parts = vec![String::new()];
    let mut end = rest.len();
    for (index, character) in rest.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            end = index;
            break;
        }
        if character == ',' && depth == 1 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    let imports: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
    let imports = format!("use crate::{};", imports.join(";use crate::"));
    let after = rest[end..].trim_start_matches('}').trim_start_matches(';');
    format!("{before}{imports}{}", flatten(after))
}
