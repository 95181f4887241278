//! Data flows from routes to domain to store, and never the other way.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A room, and what none of its files may name.
const FORBIDDEN: [(&str, &[&str]); 5] = [
    ("routes", &["store", "clients", "jobs"]),
    ("domain", &["routes", "error", "app", "jobs"]),
    ("store", &["routes", "domain", "error", "app", "jobs", "clients"]),
    ("clients", &["routes", "store", "error", "app", "jobs"]),
    ("jobs", &["store", "clients", "error", "app"]),
];

/// Libraries that belong to other rooms.
const LIBRARIES: [(&str, &[&str]); 5] = [
    ("routes", &["tokio_postgres", "deadpool_postgres", "reqwest::"]),
    ("domain", &["actix", "tokio_postgres", "deadpool_postgres", "reqwest::Client"]),
    ("store", &["actix", "reqwest::"]),
    ("clients", &["actix", "tokio_postgres", "deadpool_postgres"]),
    ("jobs", &["actix", "tokio_postgres", "deadpool_postgres", "reqwest::"]),
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "tests") {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file without comments, in one line: `use crate::{store::…}` says the same as `use crate::store`.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    lines.collect::<Vec<_>>().join(" ")
}

/// The first names after `crate::` in every path and list of paths.
fn rooms_named(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => rooms.push(first_name(rest)),
            Some(list) => {
                let (mut depth, mut starts) = (0, true);
                for (index, letter) in list.char_indices() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => starts = true,
                        _ if starts && !letter.is_whitespace() => {
                            rooms.push(first_name(&list[index..]));
                            starts = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    rooms
}

fn first_name(path: &str) -> String {
    path.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
}

#[test]
fn no_file_names_a_room_that_it_must_not_know() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut looked_at = 0;
    for ((room, forbidden), (_, libraries)) in FORBIDDEN.into_iter().zip(LIBRARIES) {
        for file in files(&source.join(room)) {
            let code = code(&file);
            for name in rooms_named(&code) {
                assert!(!forbidden.contains(&name.as_str()), "{} names crate::{name}", file.display());
            }
            for library in libraries {
                assert!(!code.contains(library), "{} names {library}", file.display());
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 30, "{looked_at}");
}

#[test]
fn the_look_at_paths_is_sharp() {
    let code = "use crate::{domain::{a, b}, store, error::ApiError}; crate::app::run()";
    assert_eq!(rooms_named(code), ["domain", "store", "error", "app"]);
}
