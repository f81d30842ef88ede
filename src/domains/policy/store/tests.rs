//! Hot reload: what a person or a script may do to the files while the server runs.
