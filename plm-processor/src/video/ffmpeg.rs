//! Videos in every other container and codec, through an installed `ffmpeg` executable.
//!
//! The executable is the one that the environment variable `PLM_FFMPEG` names, else `ffmpeg` of
//! the search path. It gets no shell, no network and no playlist: it may open the one file, with
//! demuxers that read one file. Opening lists the packets and decodes the first frame; frames
//! come one after another through a pipe, and only those that are shown are converted to RGB.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{VideoFault, video_error};
use crate::error::{Error, Result};
use crate::image::{DecodeLimits, Image, check_size};

mod packets;
mod ppm;
mod process;

use packets::Packets;
use process::Process;

/// Environment variable with the path of the executable.
const PROGRAM_VARIABLE: &str = "PLM_FFMPEG";

/// Demuxers that read one file and follow no link in it.
const DEMUXERS: &str = "asf,avi,dv,flv,h264,hevc,ivf,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,\
    mpegts,mpegvideo,mxf,nut,ogg,rm,wtv,yuv4mpegpipe";

/// Frames from one sign of life to the next while no chosen frame comes.
const PULSE_FRAMES: usize = 100;

/// Most runs of frames that are chosen one by one; its command line has an end.
const MAX_RUNS: usize = 500;

/// Why FFmpeg gave no frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FfmpegFault {
    /// The executable cannot be started.
    #[error(
        "it is {found}, which is read through FFmpeg, but `{program}` cannot be started ({message}); install FFmpeg, or name its executable in the environment variable PLM_FFMPEG"
    )]
    Absent {
        /// Container and codec.
        found: String,
        /// The executable.
        program: String,
        /// What the system said.
        message: String,
    },
    /// The executable ended with an error, or was killed.
    #[error("`{program}` cannot read it ({status}): {message}")]
    Failed {
        /// The executable.
        program: String,
        /// How it ended.
        status: String,
        /// What it said, cut to a few lines.
        message: String,
    },
    /// The executable gave no sign of life and was ended.
    #[error("`{program}` said nothing for {seconds} s and was ended")]
    Silent {
        /// The executable.
        program: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The executable answered something else than it was asked for.
    #[error("`{program}` gave something unexpected: {what}; is it FFmpeg 5.1 or newer?")]
    Unexpected {
        /// The executable.
        program: String,
        /// What was found.
        what: String,
    },
    /// Fewer frames can be decoded than the file has packets.
    #[error("`{program}` decodes {decoded} of its {num_frames} frames; it is truncated or damaged")]
    FewerFrames {
        /// The executable.
        program: String,
        /// Frames up to the last that came.
        decoded: usize,
        /// Packets of video in the file.
        num_frames: usize,
    },
}

/// A video file that FFmpeg reads.
#[derive(Debug, PartialEq)]
pub(super) struct FfmpegFile {
    pub(super) path: PathBuf,
    /// Container and codec.
    found: String,
    program: OsString,
    stored_width: u32,
    /// Width and height of the first frame, upright.
    pub(super) size_wh: (u32, u32),
    pub(super) num_frames: usize,
    /// When each frame is shown, if the file has times.
    pub(super) seconds: Option<Vec<f64>>,
    /// Frames a second on average, if the file has times.
    pub(super) fps: Option<f64>,
    limits: DecodeLimits,
}

impl FfmpegFile {
    /// Lists the packets and decodes the first frame. `found` is container and codec.
    pub(super) fn open(path: &Path, found: String, limits: &DecodeLimits) -> Result<Self> {
        let program = std::env::var_os(PROGRAM_VARIABLE).filter(|program| !program.is_empty());
        Self::open_through(
            program.unwrap_or_else(|| "ffmpeg".into()),
            path,
            found,
            limits,
        )
    }

    fn open_through(
        program: OsString,
        path: &Path,
        found: String,
        limits: &DecodeLimits,
    ) -> Result<Self> {
        let mut file = Self {
            path: path.to_owned(),
            found,
            program,
            stored_width: 0,
            size_wh: (0, 0),
            num_frames: 0,
            seconds: None,
            fps: None,
            limits: *limits,
        };
        let packets = file.packets()?;
        file.stored_width = packets.size_wh.0;
        file.num_frames = packets.num_frames();
        (file.seconds, file.fps) = (packets.seconds(), packets.fps());
        if file.num_frames > 0 {
            let first = file.map_frames(&[0], |_, frame| Ok(frame))?;
            file.size_wh = first.first().map_or((0, 0), Image::size_wh);
        }
        Ok(file)
    }

    /// The packets of the first video stream, without decoding any.
    fn packets(&self) -> Result<Packets> {
        let args = ["-c", "copy", "-copyts", "-copyinkf", "-f", "framecrc"];
        let mut process = self.start(&args.map(OsString::from))?;
        let packets = Packets::read(&mut process).map_err(|fault| self.fault(fault))?;
        process.finish().map_err(|fault| self.fault(fault))?;
        let (width, height) = packets.size_wh;
        check_size(
            width,
            height,
            &self.path.display().to_string(),
            &self.limits,
        )?;
        Ok(packets)
    }

    /// Decodes frames, which must exist, and hands each on with its number.
    pub(super) fn map_frames<T: Clone>(
        &self,
        indices: &[usize],
        take: impl Fn(usize, Image) -> Result<T>,
    ) -> Result<Vec<T>> {
        let wanted: BTreeSet<usize> = indices.iter().copied().collect();
        let Some(&last) = wanted.last() else {
            return Ok(Vec::new());
        };
        let sent = Sent::new(&wanted);
        let mut process = self.start(&self.decoding_args(&sent))?;
        let name = self.path.display().to_string();
        let mut taken = BTreeMap::new();
        for index in sent.up_to(last) {
            let frame = ppm::read(&mut process, &name, &self.limits)
                .map_err(|failure| failure.into_error(|fault| self.fault(fault)))?;
            let Some(frame) = frame else {
                process.finish().map_err(|fault| self.fault(fault))?;
                return Err(self.fault(FfmpegFault::FewerFrames {
                    program: self.program.display().to_string(),
                    decoded: index,
                    num_frames: self.num_frames,
                }));
            };
            if wanted.contains(&index) {
                taken.insert(index, take(index, frame)?);
            }
        }
        Ok(indices
            .iter()
            .filter_map(|index| taken.get(index).cloned())
            .collect())
    }

    /// What makes FFmpeg convert the frames that are sent, and write them as PPM.
    fn decoding_args(&self, sent: &Sent) -> Vec<OsString> {
        // As the reference: libswscale called directly where rows need no padding, else FFmpeg's
        // filter with its defaults. The two widen chroma differently.
        let scaler = match self.stored_width % 32 {
            0 => "flags=bilinear:in_h_chr_pos=0",
            _ => "flags=bicubic",
        };
        // Numbers as times, so that no frame is doubled or dropped for its own time.
        let select = sent.expression();
        let filters = format!("select='{select}',scale={scaler},format=rgb24,settb=1/25,setpts=N");
        let times = ["-fps_mode", "passthrough", "-enc_time_base", "1:25"];
        let format = ["-f", "image2pipe", "-c:v", "ppm"];
        let args = ["-vf", &filters].into_iter().chain(times).chain(format);
        args.map(OsString::from).collect()
    }

    fn start(&self, output: &[OsString]) -> Result<Process> {
        let mut input = OsString::from("file:");
        input.push(&self.path);
        let max_pixels = self.limits.max_pixels.min(i32::MAX as u64).to_string();
        let before = [
            "-nostdin",
            "-hide_banner",
            "-v",
            "error",
            "-xerror",
            "-protocol_whitelist",
            "file,pipe",
            "-format_whitelist",
            DEMUXERS,
            "-max_pixels",
            &max_pixels,
            "-i",
        ];
        let args = before.map(OsString::from).into_iter().chain([input]);
        let args = args.chain(["-map", "0:V:0"].map(OsString::from));
        let args = args.chain(output.iter().cloned()).chain(["pipe:1".into()]);
        Process::start(&self.program, args).map_err(|error| {
            self.fault(FfmpegFault::Absent {
                found: self.found.clone(),
                program: self.program.display().to_string(),
                message: error.to_string(),
            })
        })
    }

    fn fault(&self, fault: FfmpegFault) -> Error {
        video_error(&self.path, VideoFault::Ffmpeg(Box::new(fault)))
    }
}

/// The frames that FFmpeg is asked to send: the wanted, and some as signs of life.
struct Sent {
    /// First and last frames.
    runs: Vec<(usize, usize)>,
}

impl Sent {
    fn new(wanted: &BTreeSet<usize>) -> Self {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for &index in wanted {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == index => *last = index,
                _ => runs.push((index, index)),
            }
        }
        if runs.len() > MAX_RUNS
            && let (Some(first), Some(last)) = (wanted.first(), wanted.last())
        {
            runs = vec![(*first, *last)];
        }
        Self { runs }
    }

    /// As an expression of the filter `select`.
    fn expression(&self) -> String {
        let mut expression = format!("not(mod(n,{PULSE_FRAMES}))");
        for (first, last) in &self.runs {
            // Writing to a string does not fail.
            let _ = write!(expression, "+between(n,{first},{last})");
        }
        expression
    }

    fn up_to(&self, last: usize) -> impl Iterator<Item = usize> + '_ {
        let mut runs = self.runs.iter().peekable();
        (0..=last).filter(move |&index| {
            while runs.next_if(|(_, last)| *last < index).is_some() {}
            let is_wanted = runs.peek().is_some_and(|(first, _)| *first <= index);
            is_wanted || index.is_multiple_of(PULSE_FRAMES)
        })
    }
}

#[cfg(test)]
mod tests;
