//! A cache that other processes and other people use too.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use plm::hub::download;
use tempfile::tempdir;

use crate::log::Warnings;
use crate::offline::fill_as_python;
use crate::server::{Hub, REPO, sha256};
use crate::{options, single};

#[test]
fn a_cache_that_takes_no_notes_still_serves() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let repo = cache.path().join("models--owner--Tiny-PLM");
    let snapshot = fill_as_python(cache.path());
    // Files where folders belong refuse even the superuser, who runs some test machines.
    fs::remove_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs"), "").unwrap();
    fs::write(repo.join(".no_exist"), "").unwrap();
    let log = Warnings::default();
    let found = log.of(|| download(REPO, &options(&hub, cache.path())));
    assert_eq!(found.unwrap().dir, snapshot);
    assert!(log.contain(".no_exist") && log.contain("refs"));
}

#[test]
fn a_wait_for_another_process_is_logged() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let locks = cache.path().join(".locks/models--owner--Tiny-PLM");
    fs::create_dir_all(&locks).unwrap();
    let name = format!("{}.lock", sha256(&single()["model.safetensors"]));
    let held = fs::File::create(locks.join(&name)).unwrap();
    held.lock().unwrap();
    let log = Warnings::default();
    thread::scope(|scope| {
        let call = scope.spawn(|| log.of(|| download(REPO, &options(&hub, cache.path()))));
        let start = Instant::now();
        while !log.contain(&name) && start.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(20));
        }
        held.unlock().unwrap();
        call.join().unwrap().unwrap();
    });
    assert!(log.contain(&name));
}
