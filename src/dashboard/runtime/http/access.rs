//! Who may read what is served: on the loopback address without a token everybody on this machine, but no page of another
//! site; with a token whoever has it.

use super::Subject;
use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderValue};
use openssl::memcmp;
use openssl::sha::sha256;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Minimum length of a token: who tries tokens shall not find one.
const TOKEN_LENGTH: usize = 16;
/// Maximum length, so that a request with it is within the limits.
const LONGEST_TOKEN: usize = 512;
/// Seconds for which a browser keeps the cookie.
const COOKIE_S: u32 = 30 * 24 * 3600;

/// A secret that whoever asks must know.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Takes the token from a file or variable; one at its end is not part of it: a line's end.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches(['\r', '\n']);
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token must be one line of printable ASCII without blanks".into());
        }
        if !(TOKEN_LENGTH..=LONGEST_TOKEN).contains(&text.len()) {
            return Err(format!(
                "the token must have {TOKEN_LENGTH} to {LONGEST_TOKEN} characters: make one with openssl rand -hex 32"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Compares in a time that does not depend on the texts.
    fn is(&self, given: &str) -> bool {
        same(given, &self.0)
    }

    /// What a browser keeps in place of the token: it opens no other door.
    fn cookie(&self) -> String {
        let digest = sha256(format!("htap-top page\n{}", self.0).as_bytes());
        digest.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Digests have equal lengths, which the comparison requires.
fn same(one: &str, other: &str) -> bool {
    memcmp::eq(&sha256(one.as_bytes()), &sha256(other.as_bytes()))
}

/// The rules of an address.
pub(crate) struct Access {
    token: Option<Token>,
    /// True if only this machine reaches the address.
    local: bool,
    /// Cookies do not tell ports apart, so their name does.
    cookie: String,
}

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

impl Access {
    /// The rules of this address.
    pub(crate) fn of(address: SocketAddr, token: Option<Token>) -> Self {
        Self {
            token,
            local: address.ip().to_canonical().is_loopback(),
            cookie: format!("htap_top_{}", address.port()),
        }
    }

    /// Returns true if the page and its events can be read at all.
    pub(crate) fn has_page(&self) -> bool {
        self.local || self.token.is_some()
    }

    /// Decides on a request.
    pub(super) fn admit(&self, subject: Subject, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            return self.admit_without_token(subject, headers);
        };
        let admitted = match subject {
            // They show no figures, and the page asks for the token.
            Subject::Asset(_) => true,
            Subject::Login => bearer(headers).is_some_and(|given| token.is(given)),
            Subject::Metrics | Subject::Health | Subject::Live => {
                bearer(headers).is_some_and(|given| token.is(given))
                    || self
                        .cookies(headers)
                        .any(|given| same(given, &token.cookie()))
            }
        };
        if admitted {
            return Ok(());
        }
        Err(Refusal {
            status: StatusCode::UNAUTHORIZED,
            why: "this needs the token: send it as Authorization: Bearer TOKEN\n",
        })
    }

    fn admit_without_token(&self, subject: Subject, headers: &HeaderMap) -> Result<(), Refusal> {
        let scraped = matches!(subject, Subject::Metrics | Subject::Health);
        if !self.local && !scraped {
            return Err(Refusal {
                status: StatusCode::FORBIDDEN,
                why: "other machines can reach this address, so the page needs a token: \
                      start htap-top serve with --token-file\n",
            });
        }
        // A page of another site whose name leads to this address could read the answers.
        if self.local && !headers.get_all(HOST).iter().all(is_local_name) {
            return Err(Refusal {
                status: StatusCode::MISDIRECTED_REQUEST,
                why: "ask for localhost or an IP address: another name may be that of somebody else's page. \
                      With --token-file every name is answered\n",
            });
        }
        Ok(())
    }

    /// The cookie for a browser that has shown the token; `None` without tokens.
    pub(super) fn set_cookie(&self) -> Option<HeaderValue> {
        let (name, value) = (&self.cookie, self.token.as_ref()?.cookie());
        let cookie =
            format!("{name}={value}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Strict");
        HeaderValue::from_str(&cookie).ok()
    }

    /// The values of our cookie.
    fn cookies<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let lines = headers.get_all(COOKIE).iter();
        let pairs = lines.filter_map(|line| line.to_str().ok());
        let pairs = pairs.flat_map(|line| line.split(';'));
        pairs.filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == self.cookie).then_some(value)
        })
    }
}

/// The token in `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Returns true for `localhost` and IP addresses, with or without a port: no other site has them as its name.
fn is_local_name(host: &HeaderValue) -> bool {
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let lines = lines.iter();
        lines
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn status(access: &Access, subject: Subject, lines: &[(&'static str, &str)]) -> u16 {
        let admitted = access.admit(subject, &headers(lines));
        admitted.map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn no_page_of_another_site_reads_what_this_machine_may() {
        let access = Access::of("127.0.0.1:9188".parse().unwrap(), None);
        for near in ["localhost:9188", "LOCALHOST", "127.0.0.1:1", "[::1]:9188"] {
            assert_eq!(
                status(&access, Subject::Live, &[("host", near)]),
                200,
                "{near}"
            );
        }
        for far in [
            "evil.example",
            "localhost.evil.example:9188",
            "127.0.0.1.nip.io",
            "",
            "[x",
        ] {
            for subject in [Subject::Live, Subject::Metrics, Subject::Health] {
                assert_eq!(status(&access, subject, &[("host", far)]), 421, "{far}");
            }
        }
        let both = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(status(&access, Subject::Live, &both), 421);
    }

    #[test]
    fn an_address_that_others_reach_shows_the_page_only_for_a_token() {
        let address = "0.0.0.0:80".parse().unwrap();
        let open = Access::of(address, None);
        assert_eq!(
            status(&open, Subject::Metrics, &[("host", "db.example")]),
            200
        );
        assert_eq!(status(&open, Subject::Live, &[("host", "127.0.0.1")]), 403);
        assert!(!open.has_page() && open.set_cookie().is_none());
        let secret = "0123456789abcdef";
        let access = Access::of(address, Some(Token::parse("0123456789abcdef\n").unwrap()));
        let bearer = format!("Bearer {secret}");
        let cookie = access.set_cookie().unwrap();
        let cookie = cookie.to_str().unwrap().to_owned();
        assert!(!cookie.contains(secret), "{cookie}");
        let kept = cookie.split(';').next().unwrap();
        for subject in [Subject::Live, Subject::Metrics, Subject::Health] {
            assert_eq!(status(&access, subject, &[]), 401);
            assert_eq!(status(&access, subject, &[("authorization", &bearer)]), 200);
            let line = format!("a=b; {kept}");
            assert_eq!(status(&access, subject, &[("cookie", &line)]), 200);
            for wrong in [
                "Bearer 0123456789abcdeg",
                "Bearer ",
                "Basic 0123456789abcdef",
            ] {
                assert_eq!(
                    status(&access, subject, &[("authorization", wrong)]),
                    401,
                    "{wrong}"
                );
            }
        }
        // The cookie is no token.
        let value = kept.split_once('=').unwrap().1;
        let line = format!("Bearer {value}");
        assert_eq!(
            status(&access, Subject::Login, &[("authorization", &line)]),
            401
        );
        assert_eq!(status(&access, Subject::Login, &[("cookie", kept)]), 401);
    }

    #[test]
    fn a_token_is_long_and_fits_in_a_header() {
        let long = "x".repeat(513);
        for bad in [
            "",
            "short",
            "0123456789 abcdef",
            "0123456789abcdeü",
            long.as_str(),
        ] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
    }
}
