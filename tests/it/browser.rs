//! A browser without a window, driven over a pair of pipes with the DevTools protocol (JSON messages, each ended by a
//! zero byte), so that a test sees a page as a reader does and hears what the page complains of.
//!
//! Not here: what is expected of a page (`page`).

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::Scene;

/// Programs that can be driven so, the smallest first; `scripts/prepare-tests.sh` installs the first.
const PROGRAMS: [&str; 2] = ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"];

/// How long one answer may take: a browser that starts on a busy machine takes some seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// One page in one browser.
pub struct Browser {
    to: PipeWriter,
    heard: Receiver<Value>,
    process: Child,
    last: u64,
    session: Option<String>,
    /// What the page said by itself since the last [`Browser::open`].
    events: Vec<Value>,
}

impl Browser {
    /// Starts one as the user of `scene`, with everything it writes beneath its home.
    pub fn start(scene: &Scene) -> Self {
        let program = PROGRAMS.iter().find(|program| Path::new(program).exists());
        let program = program.expect("no browser; ask root for: apt-get install chromium-headless-shell");
        let (theirs_in, to) = pipe().unwrap();
        let (from, theirs_out) = pipe().unwrap();
        let mut command = scene.native(program);
        // Only a page of our own is shown, and neither root nor a container can have the sandbox.
        command.args(["--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run"]);
        command.args(["--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]);
        command.arg(format!("--user-data-dir={}", scene.home.join("browser").display()));
        command.env("HOME", &scene.home).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let descriptors = [theirs_in.as_raw_fd(), theirs_out.as_raw_fd()];
        // SAFETY: system calls alone, in the child.
        unsafe { command.pre_exec(move || place(descriptors)) };
        let process = command.spawn().unwrap();
        let heard = listen(from);
        let mut browser = Browser { to, heard, process, last: 0, session: None, events: Vec::new() };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attached)["sessionId"].clone();
        browser.session = session.as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Makes the window so large.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Whether pages may run scripts from now on.
    pub fn allow_scripts(&mut self, allowed: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": !allowed }));
    }

    /// Shows the page in `file`, and waits until it is there.
    pub fn open(&mut self, file: &Path) {
        self.events.clear();
        let url = format!("file://{}", file.display());
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.hear();
            self.events.push(event);
        }
    }

    /// The value of a JavaScript expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer:#}");
        answer["result"]["value"].clone()
    }

    /// Presses the mouse on the first element that `selector` fits.
    pub fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] }})()"
        );
        let place = self.value(&place);
        for kind in ["mousePressed", "mouseReleased"] {
            let press =
                json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", press);
        }
    }

    /// The whole page as a PNG in base 64.
    pub fn picture(&mut self) -> String {
        let shot = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        shot["data"].as_str().unwrap().to_owned()
    }

    /// What the page complained of since it was opened: uncaught errors, the console, what could not be loaded.
    pub fn complaints(&self) -> Vec<&Value> {
        let kinds = [
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Network.loadingFailed",
        ];
        self.events.iter().filter(|event| kinds.iter().any(|kind| event["method"] == *kind)).collect()
    }

    /// What it loaded since it was opened, itself included.
    pub fn loaded(&self) -> Vec<&str> {
        let requests = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let written = self.to.write_all(format!("{message}\0").as_bytes());
        written.unwrap_or_else(|error| panic!("{method}: the browser is gone: {error}"));
        loop {
            let heard = self.hear();
            if heard["id"] == self.last {
                assert!(heard["error"].is_null(), "{method}: {heard}");
                return heard["result"].clone();
            }
            self.events.push(heard);
        }
    }

    fn hear(&mut self) -> Value {
        self.heard.recv_timeout(PATIENCE).expect("the browser says something")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The group is this browser's own, and it has not been waited for, so its number is nobody else's.
        // SAFETY: sends a signal; touches no memory.
        unsafe { libc::kill(-self.process.id().cast_signed(), libc::SIGKILL) };
        let _ = self.process.wait();
    }
}

/// Puts both where the protocol wants them, through numbers that are neither.
fn place(descriptors: [RawFd; 2]) -> std::io::Result<()> {
    let copy = |fd: RawFd| match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10) } {
        -1 => Err(std::io::Error::last_os_error()),
        copy => Ok(copy),
    };
    let copies = [copy(descriptors[0])?, copy(descriptors[1])?];
    for (copy, place) in copies.into_iter().zip(3..) {
        // SAFETY: what had this number in the child is not used there any more.
        if unsafe { libc::dup2(copy, place) } == -1 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

fn listen(from: PipeReader) -> Receiver<Value> {
    let (send, heard) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(from).split(0).map_while(Result::ok) {
            let message = serde_json::from_slice(&message).expect("a message is JSON");
            if send.send(message).is_err() {
                return;
            }
        }
    });
    heard
}
