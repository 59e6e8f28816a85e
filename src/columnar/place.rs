//! Where column files lie: a folder of this machine, or a bucket of object storage.

use super::error::ColumnarError;
use std::ffi::OsStr;
use std::path::PathBuf;

/// A place for column files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// A bucket of object storage that speaks Amazon's S3 protocol.
    Bucket {
        /// Its name.
        name: String,
        /// Beginning of the keys of the objects: empty, or ends with `/`.
        prefix: String,
    },
}

impl Place {
    /// Reads a path, `file:///PATH`, or `s3://BUCKET` with a prefix behind it.
    ///
    /// # Errors
    /// [`ColumnarError::Refused`]: another URL, or one without a bucket or with parts that no key can have.
    pub fn read(text: &OsStr) -> Result<Self, ColumnarError> {
        let refused = |why: &str| {
            ColumnarError::Refused(format!(
                "{} is no place for column files: {why}",
                text.display()
            ))
        };
        let Some((scheme, rest)) = text.to_str().and_then(|text| text.split_once("://")) else {
            return Ok(Self::Folder(text.into()));
        };
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::Folder(rest.into())),
            "file" => Err(refused("write file:///PATH, or the path alone")),
            "s3" => {
                let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if name.is_empty() || !name.chars().all(of_name) {
                    return Err(refused("write s3://BUCKET or s3://BUCKET/PREFIX"));
                }
                let prefix = prefix.trim_end_matches('/');
                if prefix.is_empty() {
                    return Ok(Self::Bucket {
                        name: name.to_owned(),
                        prefix: String::new(),
                    });
                }
                let bad = |part: &str| matches!(part, "" | "." | "..");
                if prefix.split('/').any(bad) || prefix.contains(['?', '#', '\\']) {
                    return Err(refused(
                        "its prefix has an empty part, ., .. or one of ? # \\",
                    ));
                }
                Ok(Self::Bucket {
                    name: name.to_owned(),
                    prefix: format!("{prefix}/"),
                })
            }
            _ => Err(refused("only folders and s3:// are known")),
        }
    }
}

impl From<PathBuf> for Place {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket { name, prefix } => {
                write!(f, "s3://{name}/{prefix}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_shown() {
        let read = |text: &str| Place::read(OsStr::new(text));
        for (text, shown) in [
            ("/srv/columns", "/srv/columns"),
            ("columns", "columns"),
            ("file:///srv/columns", "/srv/columns"),
            ("s3://shop", "s3://shop/"),
            ("s3://shop/", "s3://shop/"),
            ("s3://shop/a/b", "s3://shop/a/b/"),
            ("s3://shop/a/b/", "s3://shop/a/b/"),
        ] {
            let place = read(text).unwrap();
            assert_eq!(place.to_string(), shown);
            assert_eq!(read(shown).unwrap(), place);
        }
        for text in [
            "s3://",
            "s3:///a",
            "s3://shop/a//b",
            "s3://shop/../b",
            "s3://shop/a?b",
            "s3://sh op",
            "gs://shop",
            "file://srv",
            "https://s3.amazonaws.com/shop",
        ] {
            let refused = read(text).unwrap_err().to_string();
            assert!(
                refused.contains("is no place for column files"),
                "{refused}"
            );
        }
    }
}
