//! `htap-top picture`: draws screens as SVG, for `screenshots/make`.

use super::{Failure, USAGE, print};
use crate::dashboard::view::picture::Picture;
use crate::dashboard::view::picture::film::Film;
use serde::Deserialize;

/// What to draw.
#[derive(Deserialize)]
#[serde(untagged)]
enum Drawing {
    Film(Film),
    Picture(Picture),
}

/// Draws the screen, or the frames of a film, whose cells come on standard input, as JSON.
pub(super) fn run() -> Result<(), Failure> {
    let wrong = |why: String| Failure::new(USAGE, format!("not the cells of a screen: {why}"));
    let drawing = serde_json::from_reader(std::io::stdin().lock());
    let drawing: Drawing = drawing.map_err(|error| wrong(error.to_string()))?;
    let svg = match drawing {
        Drawing::Picture(picture) => picture.svg(),
        Drawing::Film(film) => film.svg().map_err(wrong)?,
    };
    print(svg.as_bytes())
}
