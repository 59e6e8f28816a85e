//! `htap-top config`.

use super::{Failure, print};
use crate::config;

/// Prints a configuration file with every key.
pub(super) fn run() -> Result<(), Failure> {
    print(config::EXAMPLE.as_bytes())
}
