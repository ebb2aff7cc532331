use super::*;

fn sent(wanted: impl IntoIterator<Item = usize>) -> (String, Vec<usize>) {
    let wanted: BTreeSet<usize> = wanted.into_iter().collect();
    let sent = Sent::new(&wanted);
    let last = *wanted.last().unwrap();
    (sent.expression(), sent.up_to(last).collect())
}

#[test]
fn frames_are_sent_in_runs_and_with_signs_of_life() {
    let (expression, indices) = sent([7, 3, 4, 250]);
    assert_eq!(
        expression,
        "not(mod(n,100))+between(n,3,4)+between(n,7,7)+between(n,250,250)"
    );
    assert_eq!(indices, [0, 3, 4, 7, 100, 200, 250]);
}

#[test]
fn very_many_runs_become_one() {
    let (expression, indices) = sent((1..5000).step_by(2));
    assert_eq!(expression, "not(mod(n,100))+between(n,1,4999)");
    assert_eq!(indices, (0..5000).collect::<Vec<_>>());
}

#[test]
fn an_executable_that_is_not_there_is_named() {
    let path = Path::new("clip.webm");
    let limits = DecodeLimits::default();
    let found = "VP9 in WebM".to_owned();
    let opened = FfmpegFile::open_through("no/such/ffmpeg".into(), path, found, &limits);
    let message = opened.unwrap_err().to_string();
    assert!(
        message.starts_with(
            "clip.webm: it is VP9 in WebM, which is read through FFmpeg, but `no/such/ffmpeg` \
             cannot be started ("
        ),
        "{message}"
    );
    assert!(
        message.ends_with("environment variable PLM_FFMPEG"),
        "{message}"
    );
}

/// Opens a file through a shell script in the place of FFmpeg.
#[cfg(unix)]
fn opened_through(script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("ffmpeg");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let path = Path::new("clip.webm");
    let limits = DecodeLimits {
        max_pixels: 1000,
        ..DecodeLimits::default()
    };
    let opened = FfmpegFile::open_through(program.clone().into(), path, String::new(), &limits);
    let message = opened.map(|file| format!("{file:?}"));
    let message = message.unwrap_or_else(|error| error.to_string());
    message.replace(&program.display().to_string(), "FFMPEG")
}

#[cfg(unix)]
#[test]
fn the_file_cannot_be_taken_for_an_option_or_an_address() {
    let message = opened_through("for a; do case $a in *clip*) echo $a >&2;; esac; done; exit 1");
    assert_eq!(
        message,
        "clip.webm: `FFMPEG` cannot read it (exit status: 1): file:clip.webm"
    );
}

#[cfg(unix)]
#[test]
fn whatever_the_executable_does_is_told() {
    const ONE_PACKET: &str =
        "echo '#tb 0: 1/25'; echo '#dimensions 0: 8x8'; echo '0, 0, 0, 1, 1, 0x0'";
    for (script, expected) in [
        (
            "kill -9 $$".to_owned(),
            "`FFMPEG` cannot read it (signal: 9 (SIGKILL)): it said nothing",
        ),
        (
            "echo hello".to_owned(),
            "`FFMPEG` gave something unexpected: `hello`",
        ),
        (
            "echo '#dimensions 0: 100x100'".to_owned(),
            "clip.webm is 100x100 pixels",
        ),
        (
            format!("case \"$*\" in *framecrc*) {ONE_PACKET};; esac"),
            "`FFMPEG` decodes 0 of its 1 frames",
        ),
        (
            format!("case \"$*\" in *framecrc*) {ONE_PACKET};; *) echo hello; echo; echo;; esac"),
            "gave something unexpected: `hello\\n\\n\\n`",
        ),
        (
            format!(
                "case \"$*\" in *framecrc*) {ONE_PACKET};; *) printf 'P6\\n100 100\\n255\\n';; esac"
            ),
            "clip.webm is 100x100 pixels",
        ),
        (
            format!(
                "case \"$*\" in *framecrc*) {ONE_PACKET};; *) printf 'P6\\n0 0\\n255\\n';; esac"
            ),
            "0x0",
        ),
    ] {
        let message = opened_through(&script);
        assert!(message.contains(expected), "{script}: {message}");
    }
}
