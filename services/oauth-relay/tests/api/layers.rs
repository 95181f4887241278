//! The layers: `routes -> domain`, and nothing the other way; the client library knows nothing of the server.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folder or file, and what no file in it may name.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    ("routes", &["reqwest", "crate::client"]),
    ("domain", &["crate::routes", "crate::app", "crate::error", "crate::client", "actix_web", "reqwest"]),
    (
        "client",
        &[
            "crate::routes",
            "crate::app",
            "crate::error",
            "crate::config",
            "crate::telemetry",
            "actix_web",
            "common_auth",
        ],
    ),
];

#[test]
fn no_layer_uses_one_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (name, words) in FORBIDDEN {
        let mut files = Vec::new();
        collect(&source.join(name), &mut files);
        files.extend(Some(source.join(format!("{name}.rs"))).filter(|file| file.is_file()));
        assert!(!files.is_empty(), "{name} has no files");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for word in words {
                assert!(!text.contains(word), "{} names {word}", file.display());
            }
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
