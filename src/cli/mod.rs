//! The millpond command.
