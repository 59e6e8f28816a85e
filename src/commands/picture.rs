//! `htap-top picture`: draws a screen as SVG, for `screenshots/make`.

use super::{Failure, USAGE, print};
use crate::dashboard::view::picture::Picture;

/// Draws the screen whose cells come on standard input, as JSON.
pub(super) fn run() -> Result<(), Failure> {
    let picture: Picture = serde_json::from_reader(std::io::stdin().lock())
        .map_err(|error| Failure::new(USAGE, format!("not the cells of a screen: {error}")))?;
    print(picture.svg().as_bytes())
}
