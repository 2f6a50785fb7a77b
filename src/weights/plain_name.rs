//! Names that other people chose, before they become part of a path.
//!
//! Index files, `modules.json` and hub listings name files. Such a name is joined to a folder only if it
//! cannot leave it on any system: no separators but `/` between components, no `.` or `..`, no drive letter,
//! no stream, no control character, no Windows device.

/// Whether `name` is one plain file or folder name.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.chars().all(|c| c == '.')
        && !name.ends_with(['.', ' '])
        && !name
            .chars()
            .any(|c| c.is_control() || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|'))
        && !is_device(name)
}

/// Whether `path` is plain names joined by single slashes.
pub(crate) fn is_relative(path: &str) -> bool {
    path.len() <= 1024 && path.split('/').all(is_plain)
}

/// Whether Windows would open a device instead of a file, whatever the extension.
pub(super) fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    let numbered = |prefix: &str| {
        stem.len() == 4
            && stem.is_char_boundary(3)
            && stem[..3].eq_ignore_ascii_case(prefix)
            && stem.ends_with(|c: char| c.is_ascii_digit())
    };
    ["con", "prn", "aux", "nul", "conin$", "conout$"].iter().any(|device| stem.eq_ignore_ascii_case(device))
        || numbered("com")
        || numbered("lpt")
}
