//! The account that this program runs as.

use std::path::PathBuf;

/// Returns the home folder: HOME, else the password database's entry.
pub(super) fn home(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    env("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(account()?.dir))
}

fn account() -> Option<nix::unistd::User> {
    nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok()?
}

/// Returns the name of the account that this program runs as.
pub(super) fn user() -> Option<String> {
    Some(account()?.name)
}
