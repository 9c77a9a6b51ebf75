//! Names, folders and patterns -> files.
//!
//! What a folder or a pattern stands for is sorted by path, so that it depends neither on the file
//! system nor on the shell. Hidden files have to be asked for, as in a shell.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::packed::Packing;
use super::{JSON_LINES, has_suffix, is_json_lines, unpacked_name};
use crate::{Error, Result};

/// The name of standard input among files.
pub const STDIN: &str = "-";

/// As in a shell.
const SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The files that one argument stands for: those below a folder, at any depth, of text or jsonl,
/// packed or not; those that a pattern such as `data/**/*.txt` matches; or the file of that name.
/// A name of nothing is left to who opens it.
///
/// # Errors
///
/// [`Error::NoInput`] if a folder has no file to read, or a pattern matches none; [`Error::Io`] if a
/// folder cannot be read.
pub fn files_of(name: &Path) -> Result<Vec<PathBuf>> {
    if [STDIN, "/dev/stdin"].iter().any(|stdin| name == Path::new(stdin)) {
        return Ok(vec![PathBuf::from(STDIN)]);
    }
    let (mut found, problem) = if name.is_dir() {
        let mut found = below(name)?;
        found.retain(|path| is_text(path));
        let problem = "holds no file to read\nhint: looked for, at any depth: .txt, .jsonl, \
                       .ndjson, also with .gz or .zst behind";
        (found, problem)
    } else if name.symlink_metadata().is_ok() || !has_magic(name) {
        return Ok(vec![name.to_owned()]);
    } else {
        (matches(name)?, "matches no file")
    };
    if found.is_empty() {
        return Err(refuse(name, problem));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Whether one of the files at `paths` is jsonl by its suffix.
pub fn holds_json_lines(paths: &[PathBuf]) -> bool {
    paths.iter().any(|path| is_json_lines(path, Packing::of(path)))
}

fn is_text(path: &Path) -> bool {
    let name = unpacked_name(path, Packing::of(path));
    has_suffix(name, &JSON_LINES) || has_suffix(name, &["txt"])
}

fn has_magic(name: &Path) -> bool {
    name.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>> {
    let parts: Vec<Component> = pattern.components().filter(is_step).collect();
    let Some(at) = parts.iter().position(is_any_depth) else {
        return Ok(globbed(&parts).into_iter().filter(|path| path.is_file()).collect());
    };
    let behind = &parts[at + 1..];
    if behind.iter().any(is_any_depth) {
        return Err(refuse(pattern, "has `**` twice, expected once"));
    }
    let part = |part: &Component| Pattern::new(&part.as_os_str().to_string_lossy()).ok();
    let Some(mut rest) = behind.iter().map(part).collect::<Option<Vec<_>>>() else {
        return Ok(Vec::new());
    };
    if rest.is_empty() {
        rest.extend(Pattern::new("*").ok());
    }
    // What is below is not found by the library: it runs into loops of symbolic links.
    let mut found = Vec::new();
    for folder in globbed(&parts[..at]) {
        if folder.as_os_str().is_empty() || folder.is_dir() {
            let inside = |path: &PathBuf| {
                path.strip_prefix(&folder).is_ok_and(|inner| ends_with(inner, &rest))
            };
            found.extend(below(&folder)?.into_iter().filter(inside));
        }
    }
    Ok(found)
}

/// What matches a pattern without `**`, step by step; what cannot be read matches nothing, as in a
/// shell. Not the library's own walk: it skips hidden files that are asked for, and panics at names
/// that are not UTF-8.
fn globbed(steps: &[Component]) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for step in steps {
        let name = step.as_os_str();
        if !has_magic(Path::new(name)) {
            for path in &mut found {
                path.push(name);
            }
            continue;
        }
        let Ok(pattern) = Pattern::new(&name.to_string_lossy()) else { return Vec::new() };
        let inside = |folder: PathBuf| {
            let entries = Path::new(".").join(&folder).read_dir().into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name());
            let matching =
                names.filter(|name| pattern.matches_with(&name.to_string_lossy(), SHELL));
            matching.map(|name| folder.join(name)).collect::<Vec<_>>()
        };
        found = found.into_iter().flat_map(inside).collect();
    }
    found
}

/// Whether the last steps of `path` match `patterns`, one each.
fn ends_with(path: &Path, patterns: &[Pattern]) -> bool {
    let mut steps = path.components().rev();
    let mut last_first = patterns.iter().rev();
    last_first.all(|pattern| {
        let step = steps.next().map(|step| step.as_os_str().to_string_lossy());
        step.is_some_and(|step| pattern.matches_with(&step, SHELL))
    })
}

/// All files below `folder`, but hidden ones. A folder that links lead to twice is read once.
fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut seen) = (Vec::new(), HashSet::new());
    let mut folders = vec![Path::new(".").join(folder)];
    while let Some(folder) = folders.pop() {
        let io = |source| Error::io(normal(&folder), source);
        if !seen.insert(folder.canonicalize().map_err(io)?) {
            continue;
        }
        let mut inner = Vec::new();
        for entry in folder.read_dir().map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = folder.join(name);
            match path.metadata() {
                Ok(facts) if facts.is_dir() => inner.push(path),
                Ok(facts) if facts.is_file() => files.push(normal(&path)),
                _ => {} // devices, and links to nothing
            }
        }
        // Sorted, so that of two ways to a folder always the same is taken: the first.
        inner.sort_unstable_by(|a, b| b.cmp(a));
        folders.extend(inner);
    }
    Ok(files)
}

/// `path` without steps that lead nowhere: `./a` is `a`.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(is_step).collect()
}

fn is_step(part: &Component) -> bool {
    *part != Component::CurDir
}

fn is_any_depth(part: &Component) -> bool {
    part.as_os_str() == "**"
}

fn refuse(name: &Path, problem: &'static str) -> Error {
    Error::NoInput { name: name.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn folder(names: &[&str]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        folder
    }

    /// Relative to the folder, with `/` between.
    fn found(folder: &TempDir, name: &str) -> Vec<String> {
        let files = files_of(&folder.path().join(name)).unwrap();
        let inner = |path: &PathBuf| {
            let inner = path.strip_prefix(folder.path()).unwrap();
            inner.iter().map(|step| step.to_string_lossy()).collect::<Vec<_>>().join("/")
        };
        files.iter().map(inner).collect()
    }

    #[test]
    fn a_folder_stands_for_texts_below_it_sorted_by_path() {
        let folder = folder(&[
            "b.txt",
            "a/z.jsonl",
            "a/c.txt.gz",
            "A.TXT",
            "a-b.ndjson.zst",
            "x.json",
            "x.gz",
            ".hidden.txt",
            ".git/x.txt",
            "txt",
        ]);
        let expected = ["A.TXT", "a/c.txt.gz", "a/z.jsonl", "a-b.ndjson.zst", "b.txt"];
        assert_eq!(found(&folder, ""), expected);
        assert_eq!(found(&folder, "./"), expected);
    }

    #[test]
    fn a_pattern_stands_for_what_it_matches() {
        let folder =
            folder(&["b.txt", "a.txt", "d/c.txt", "d/c.md", "d/e/f.txt", ".h.txt", "d/.h/x"]);
        let cases: [(&str, &[&str]); 7] = [
            ("*.txt", &["a.txt", "b.txt"]),
            ("d/*", &["d/c.md", "d/c.txt"]),
            ("**/*.txt", &["a.txt", "b.txt", "d/c.txt", "d/e/f.txt"]),
            ("d/**", &["d/c.md", "d/c.txt", "d/e/f.txt"]),
            ("*/**/e/*.txt", &["d/e/f.txt"]),
            ("[ab].t?t", &["a.txt", "b.txt"]),
            (".h*", &[".h.txt"]),
        ];
        for (pattern, expected) in cases {
            assert_eq!(found(&folder, pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_stands_for_no_file_is_told() {
        let folder = folder(&["d/a.md"]);
        for (name, expected) in [
            (
                "d",
                "d` holds no file to read\nhint: looked for, at any depth: .txt, .jsonl, .ndjson",
            ),
            ("*.txt", "*.txt` matches no file"),
            ("[", "[` matches no file"),
            ("**/d/**/*.txt", "has `**` twice, expected once"),
        ] {
            let message = files_of(&folder.path().join(name)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(found(&folder, "gone.txt"), ["gone.txt"]);
        assert_eq!(files_of(Path::new("-")).unwrap(), [Path::new("-")]);
    }

    #[cfg(unix)]
    #[test]
    fn loops_of_links_end() {
        let folder = folder(&["a.txt", "e/b.txt"]);
        let at = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink(folder.path(), at("loop")).unwrap();
        std::os::unix::fs::symlink(at("e"), at("z")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling.txt")).unwrap();
        for name in ["", "**", "**/*.txt"] {
            assert_eq!(found(&folder, name), ["a.txt", "e/b.txt"]);
        }
    }
}
