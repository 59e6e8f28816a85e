//! The page of `htap-top serve` in headless Chromium, driven by its debugging protocol over two pipes.
#![expect(clippy::indexing_slicing, reason = "helpers of a test")]

use super::Program;
use super::live::{HOSTILE, sell, shop};
use super::served::Served;
use crate::it::server::{PATIENCE, Patience, block_on};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// Names of the program in Debian and elsewhere.
const NAMES: [&str; 5] = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "chrome",
];

fn place() -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    let places = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let mut places = places.filter(|place| place.is_file());
    places.next().unwrap_or_else(|| {
        panic!("this test needs Chromium: apt-get install chromium-headless-shell")
    })
}

/// A browser with one page.
struct Browser {
    process: Child,
    say: File,
    hear: Receiver<Value>,
    number: u64,
    session: Option<String>,
    /// What the page complained of.
    complaints: Vec<Value>,
    _folder: tempfile::TempDir,
}

impl Browser {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipes = ["say", "hear"].map(|name| {
            let path = folder.path().join(name);
            mkfifo(&path, Mode::S_IRWXU).unwrap();
            // With both ends open, nobody waits for the other side.
            let mut both = OpenOptions::new();
            both.read(true).write(true).open(path).unwrap()
        });
        let [say, hear] = pipes;
        let process = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<say 4>hear"])
            .arg(place())
            .args([
                "--headless",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args(["--disable-dev-shm-usage", "--user-data-dir=profile"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(hear).split(0) {
                let message = serde_json::from_slice(&message.unwrap()).unwrap();
                if tell.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            process,
            say,
            hear: told,
            number: 0,
            session: None,
            complaints: Vec::new(),
            _folder: folder,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let whom = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &whom);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser.call("Log.enable", &json!({}));
        browser.call("Runtime.enable", &json!({}));
        browser
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.number += 1;
        let mut request = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        self.say
            .write_all(format!("{request}\0").as_bytes())
            .unwrap();
        loop {
            let message = self.hear.recv_timeout(PATIENCE).unwrap();
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            let of_page = ["Log.entryAdded", "Runtime.exceptionThrown"];
            if of_page.iter().any(|name| message["method"] == *name) {
                self.complaints.push(message["params"].clone());
            }
        }
    }

    fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({ "url": url }));
    }

    /// The value of an expression on the page.
    fn value(&mut self, expression: &str) -> Value {
        let what = json!({ "expression": expression, "returnByValue": true });
        self.call("Runtime.evaluate", &what)["result"]["value"].clone()
    }

    /// Waits until the expression is true.
    fn until(&mut self, expression: &str) {
        let patience = Patience::begin();
        while self.value(expression) != true {
            if !patience.lasts() {
                let text = self.value("document.body.innerText");
                panic!("not {expression}: {text} {:?}", self.complaints);
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_page_shows_what_happens_and_takes_no_text_for_a_part_of_it() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let named = "UPDATE mart.category_hourly SET category = $1 WHERE category = (SELECT min(category) FROM mart.category_hourly)";
        admin
            .query(named, &[htap_top::pg::Param::Text(HOSTILE)])
            .await
            .unwrap();
        let program = Program::new();
        let served = Served::start(&program, &database.conninfo("postgres"), &[]);
        let mut browser = Browser::start();
        browser.open(&format!("http://{}/", served.address));
        browser.until("document.querySelectorAll('#gauges li').length > 5");
        browser.until("document.querySelectorAll('#hourly_sales .column').length === 24");
        browser.until("document.querySelectorAll('#rfm_segments tr').length > 1");
        browser.until("document.getElementById('link').textContent === 'live'");
        browser.until("document.getElementById('cause').textContent.length > 10");
        let text = serde_json::to_string(HOSTILE).unwrap();
        browser.until(&format!(
            "document.getElementById('top_categories').textContent.includes({text})"
        ));
        assert_eq!(
            browser.value("document.getElementById('stream').hidden"),
            true
        );
        sell(&admin, HOSTILE, 4_321).await;
        browser.until(&format!(
            "document.querySelector('#stream .note').textContent.includes({text})"
        ));
        browser.until("document.querySelector('#stream .column:last-child').title.includes((4321).toLocaleString())");
        let elements =
            "document.querySelectorAll('img, script:not([src])').length + (window.hurt ?? 0)";
        assert_eq!(browser.value(elements), 0);
        // On a phone nothing is cut off at the side.
        let phone = json!({ "width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": true });
        browser.call("Emulation.setDeviceMetricsOverride", &phone);
        browser.until("document.documentElement.scrollWidth <= 360");
        assert_eq!(browser.complaints, Vec::<Value>::new());
        served.end(Signal::SIGTERM);
        browser
            .until("document.getElementById('link').textContent.startsWith('connection lost at ')");
        browser.until(
            "document.querySelector('#hourly_sales .age').textContent.startsWith('· old: as of ')",
        );
    });
}

#[test]
fn the_page_asks_for_the_token_and_keeps_it_from_scripts() {
    let program = Program::new();
    let nobody = tempfile::tempdir().unwrap();
    let nowhere = format!("host={}", nobody.path().display());
    let file = program.path("token");
    std::fs::write(&file, "not-a-word-that-anybody-guesses\n").unwrap();
    let served = Served::start(
        &program,
        &nowhere,
        &["--token-file", file.to_str().unwrap()],
    );
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", served.address));
    browser.until("!document.getElementById('login').hidden");
    let enter = |token: &str| {
        format!(
            "document.getElementById('token').value = '{token}'; document.querySelector('#login button').click()"
        )
    };
    browser.value(&enter("wrong"));
    browser.until("document.getElementById('refused').textContent === 'this is not the token'");
    browser.value(&enter("not-a-word-that-anybody-guesses"));
    browser.until(
        "document.getElementById('login').hidden && !document.getElementById('figures').hidden",
    );
    browser.until("document.getElementById('link').textContent.startsWith('not connected')");
    assert_eq!(browser.value("document.cookie"), "");
    // It is there after a reload, too.
    browser.open(&format!("http://{}/", served.address));
    browser.until("document.getElementById('link').textContent.startsWith('not connected')");
    served.end(Signal::SIGTERM);
}
