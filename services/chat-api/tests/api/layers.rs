//! The layers: `routes -> domain -> store`, and nothing the other way.

use std::{fs, path::Path};

/// Folder, and what no file in it may name.
const FORBIDDEN: [(&str, &[&str]); 5] = [
    ("routes", &["crate::store", "crate::clients", "crate::jobs", "mongodb::"]),
    ("domain", &["crate::routes", "crate::app", "crate::error", "crate::jobs", "actix_web", "reqwest"]),
    (
        "store",
        &["crate::routes", "crate::domain", "crate::app", "crate::clients", "crate::jobs", "actix_web"],
    ),
    ("clients", &["crate::routes", "crate::domain", "crate::app", "crate::store", "crate::jobs", "mongodb"]),
    ("jobs", &["crate::routes", "crate::app", "actix_web", "mongodb", "reqwest"]),
];

#[test]
fn no_layer_uses_one_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (folder, names) in FORBIDDEN {
        let mut files = Vec::new();
        collect(&source.join(folder), &mut files);
        assert!(!files.is_empty(), "{folder} has no files");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for name in names {
                assert!(!text.contains(name), "{} names {name}", file.display());
            }
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
