//! One run of the executable, whose output is read with a limit on silence.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::FfmpegFault;

/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(120);

/// Bytes of what the executable says that are kept.
const MAX_MESSAGE_BYTES: u64 = 2000;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 16;

/// A running executable; it is ended when this is dropped.
pub(super) struct Process {
    program: String,
    child: Child,
    chunks: Receiver<io::Result<Vec<u8>>>,
    messages: Receiver<String>,
    chunk: Vec<u8>,
    position: usize,
    silence: Duration,
}

impl Process {
    pub(super) fn start(
        program: &OsStr,
        args: impl IntoIterator<Item = OsString>,
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            // It would write a report beside the caller's files, and colour its messages.
            .env_remove("FFREPORT")
            .env("AV_LOG_FORCE_NOCOLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // A few chunks: enough to overlap, and few enough to hold.
        let (chunk_sender, chunks) = sync_channel(4);
        let (message_sender, messages) = sync_channel(1);
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || send_chunks(stdout, &chunk_sender));
        }
        if let Some(mut stderr) = child.stderr.take() {
            thread::spawn(move || {
                let mut kept = Vec::new();
                // What cannot be read is not there to be told.
                let _ = (&mut stderr).take(MAX_MESSAGE_BYTES).read_to_end(&mut kept);
                let _ = message_sender.send(String::from_utf8_lossy(&kept).into_owned());
                let _ = io::copy(&mut stderr, &mut io::sink());
            });
        }
        Ok(Self {
            program: program.display().to_string(),
            child,
            chunks,
            messages,
            chunk: Vec::new(),
            position: 0,
            silence: SILENCE,
        })
    }

    /// The bytes that have come and were not read; none at the end.
    fn available(&mut self) -> Result<&[u8], FfmpegFault> {
        if self.position == self.chunk.len() {
            self.position = 0;
            self.chunk = match self.chunks.recv_timeout(self.silence) {
                Ok(Ok(chunk)) => chunk,
                Ok(Err(error)) => return Err(self.unexpected(error.to_string())),
                Err(RecvTimeoutError::Timeout) => return Err(self.silent()),
                Err(RecvTimeoutError::Disconnected) => Vec::new(),
            };
        }
        Ok(&self.chunk[self.position..])
    }

    /// Reads up to and with the byte `end`, or to the end of the output; false at the end.
    pub(super) fn read_until(
        &mut self,
        end: u8,
        max_bytes: usize,
        line: &mut Vec<u8>,
    ) -> Result<bool, FfmpegFault> {
        line.clear();
        loop {
            let available = self.available()?;
            if available.is_empty() {
                return Ok(!line.is_empty());
            }
            let found = available.iter().position(|&byte| byte == end);
            let count = found.map_or(available.len(), |at| at + 1);
            line.extend_from_slice(&available[..count]);
            self.position += count;
            if line.len() > max_bytes {
                return Err(self.unexpected("a line without end".to_owned()));
            }
            if found.is_some() {
                return Ok(true);
            }
        }
    }

    /// Fills `buffer`; false if the output ends before.
    pub(super) fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<bool, FfmpegFault> {
        while !buffer.is_empty() {
            let available = self.available()?;
            if available.is_empty() {
                return Ok(false);
            }
            let count = available.len().min(buffer.len());
            let (filled, rest) = buffer.split_at_mut(count);
            filled.copy_from_slice(&available[..count]);
            self.position += count;
            buffer = rest;
        }
        Ok(true)
    }

    /// Waits for the end of an executable whose output has ended.
    ///
    /// # Errors
    /// When it failed, or was killed.
    pub(super) fn finish(mut self) -> Result<(), FfmpegFault> {
        let deadline = Instant::now() + self.silence;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                Ok(None) => return Err(self.silent()),
                Err(error) => return Err(self.unexpected(error.to_string())),
            }
        };
        if status.success() {
            return Ok(());
        }
        // A child of the executable may hold its error stream open.
        let message = self.messages.recv_timeout(Duration::from_secs(1));
        let message = message.unwrap_or_default().trim().replace('\n', "; ");
        Err(FfmpegFault::Failed {
            program: self.program.clone(),
            status: status.to_string(),
            message: match message.as_str() {
                "" => "it said nothing".to_owned(),
                _ => message,
            },
        })
    }

    pub(super) fn unexpected(&self, what: String) -> FfmpegFault {
        FfmpegFault::Unexpected {
            program: self.program.clone(),
            what,
        }
    }

    fn silent(&self) -> FfmpegFault {
        FfmpegFault::Silent {
            program: self.program.clone(),
            seconds: self.silence.as_secs(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; in both cases nothing of it is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Hands on what is read until the output ends or nobody takes it.
fn send_chunks(mut stdout: ChildStdout, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let sent = match stdout.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                sender.send(Ok(chunk))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                // Whether anyone hears it or not, there is no more to read.
                let _ = sender.send(Err(error));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sh(script: &str) -> Process {
        let args = ["-c", script].map(OsString::from);
        Process::start(OsStr::new("/bin/sh"), args).unwrap()
    }

    #[test]
    fn lines_and_bytes_are_read_to_the_end() {
        let mut process = sh("printf 'one\\ntwo\\n12345'");
        let mut line = Vec::new();
        assert_eq!(process.read_until(b'\n', 10, &mut line), Ok(true));
        assert_eq!(line, b"one\n");
        assert_eq!(process.read_until(b'\n', 10, &mut line), Ok(true));
        let mut bytes = [0; 5];
        assert_eq!(process.read_exact(&mut bytes), Ok(true));
        assert_eq!(&bytes, b"12345");
        assert_eq!(process.read_exact(&mut bytes), Ok(false));
        assert_eq!(process.finish(), Ok(()));
    }

    #[test]
    fn silence_has_an_end() {
        let mut process = sh("exec sleep 60");
        process.silence = Duration::from_millis(50);
        let fault = process.read_until(b'\n', 10, &mut Vec::new());
        assert!(
            matches!(fault, Err(FfmpegFault::Silent { .. })),
            "{fault:?}"
        );
        let process_id = process.child.id();
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{process_id}")).exists());
    }

    #[test]
    fn an_output_that_ends_before_the_process_does_has_an_end() {
        let mut process = sh("exec 1>&-; exec sleep 60");
        assert_eq!(process.read_exact(&mut [0]), Ok(false));
        process.silence = Duration::from_millis(50);
        assert!(matches!(process.finish(), Err(FfmpegFault::Silent { .. })));
    }

    #[test]
    fn a_killed_process_and_its_last_words_are_told() {
        let mut process = sh("echo 'no memory' >&2; kill -9 $$");
        assert_eq!(process.read_exact(&mut [0]), Ok(false));
        let message = process.finish().unwrap_err().to_string();
        assert!(message.contains("signal: 9"), "{message}");
        assert!(message.ends_with("no memory"), "{message}");
    }

    #[test]
    fn long_messages_and_lines_are_cut() {
        let mut process = sh("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3");
        assert_eq!(process.read_exact(&mut [0]), Ok(false));
        let message = process.finish().unwrap_err().to_string();
        assert!(message.len() < MAX_MESSAGE_BYTES as usize + 100);
        let mut process = sh("head -c 1000000 /dev/zero");
        let fault = process.read_until(b'\n', 100, &mut Vec::new());
        assert!(matches!(fault, Err(FfmpegFault::Unexpected { .. })));
    }
}
