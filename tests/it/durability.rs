//! When the last byte of an answer goes out: once its settlement survives what `journal.mode` says.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use penstock::{
    app::Options,
    journal::disk::{Disk, DiskFile, OsDisk},
};

use super::support::{
    Answer, TestApp, Upstream, chat, chat_stream,
    upstream::{After, Exchange},
};

/// Longer than any of this takes on a disk that nobody holds.
const A_WHILE: Duration = Duration::from_millis(400);

/// Nothing is held for longer.
const MOST: Duration = Duration::from_secs(20);
/// What a provider refuses.
const FAILS: &str = "please fail";

/// The operating system's disk, on which a test can hold what is asked of it.
#[derive(Clone, Debug, Default)]
struct HeldDisk(Arc<(Mutex<Held>, Condvar)>);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Held {
    #[default]
    Nothing,
    Syncs,
    /// Writes on workers' threads are slow, on those for slow disks they are held.
    Writes,
}

#[derive(Debug)]
struct HeldFile(Arc<dyn DiskFile>, HeldDisk);

impl HeldDisk {
    fn hold(&self, held: Held) {
        *self.0.0.lock().unwrap() = held;
        self.0.1.notify_all();
    }

    fn held(&self) -> Held {
        *self.0.0.lock().unwrap()
    }

    fn pass(&self, what: Held) {
        let held = self.0.0.lock().unwrap();
        // A test that fails lets go of nothing.
        drop(self.0.1.wait_timeout_while(held, MOST, |held| *held == what).unwrap());
    }
}

impl Disk for HeldDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(HeldFile(OsDisk.create(path)?, self.clone())))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.open(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(folder)
    }
    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        OsDisk.modified_ms(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        OsDisk.sync_folder(folder)
    }
    fn now(&self) -> Instant {
        OsDisk.now()
    }
    fn wall_ms(&self) -> i64 {
        OsDisk.wall_ms()
    }
}

impl DiskFile for HeldFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if std::thread::current().name() == Some("journal-lane") {
            self.1.pass(Held::Writes);
        } else if self.1.held() == Held::Writes {
            std::thread::sleep(Duration::from_millis(6));
        }
        self.0.write(bytes)
    }
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(bytes, at)
    }
    fn rewind(&self) -> io::Result<()> {
        self.0.rewind()
    }
    fn sync(&self) -> io::Result<()> {
        self.1.pass(Held::Syncs);
        self.0.sync()
    }
}

async fn start(settings: &str) -> (TestApp, Upstream, HeldDisk) {
    let upstream = Upstream::start(async |mut exchange: Exchange| {
        if String::from_utf8_lossy(&exchange.body).contains(FAILS) {
            exchange.answer(400, "application/json", "{\"error\":{\"message\":\"no\"}}").await;
            return After::Keep(exchange);
        }
        exchange.answer_well("hi").await
    })
    .await;
    let disk = HeldDisk::default();
    let given = disk.clone();
    let settings = [settings, "[server]\nworkers = 1\n", &upstream.channel("a", "")].concat();
    let app =
        TestApp::start_with(&settings, move || Options { disk: Some(Arc::new(given)), ..Options::default() });
    // By then the worker has its journal.
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    (app, upstream, disk)
}

/// Sends a call while the disk holds something, and lets go once it has waited for that.
async fn held(app: &TestApp, disk: &HeldDisk, held: Held, body: &str) -> Answer {
    disk.hold(held);
    let (client, body) = (app.client(), body.to_owned());
    let mut call = tokio::spawn(async move { client.chat(&body).await });
    let waits = tokio::time::timeout(A_WHILE, &mut call).await.is_err();
    disk.hold(Held::Nothing);
    assert!(waits, "its last byte went out before");
    call.await.unwrap()
}

#[tokio::test]
async fn in_power_mode_an_answer_ends_when_its_settlement_is_on_the_disk() {
    let (app, _upstream, disk) = start("[journal]\nmode = \"power\"\n").await;
    for body in [chat("m"), chat_stream("m")] {
        let answer = held(&app, &disk, Held::Syncs, &body).await;
        assert_eq!(answer.status, 200);
        assert!(answer.complete && answer.body.contains("hi"), "{answer:?}");
    }
    let fails = chat("m").replace("hi", FAILS);
    assert!(fails.contains(FAILS));
    assert_eq!(held(&app, &disk, Held::Syncs, &fails).await.status, 400, "a refusal of what was sent too");
}

#[tokio::test]
async fn in_group_mode_no_answer_waits_for_the_disk() {
    let (app, _upstream, disk) = start("[journal]\nmode = \"group\"\n").await;
    disk.hold(Held::Syncs);
    for body in [chat("m"), chat_stream("m")] {
        assert_eq!(app.client().chat(&body).await.status, 200);
    }
    disk.hold(Held::Nothing);
}

#[tokio::test]
async fn on_a_slow_disk_an_answer_ends_when_a_crash_would_leave_its_settlement() {
    let (app, _upstream, disk) = start("").await;
    disk.hold(Held::Writes);
    // Its own records are written, slowly; from then on others wait for the thread.
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    assert_eq!(held(&app, &disk, Held::Writes, &chat("m")).await.status, 200);
}
