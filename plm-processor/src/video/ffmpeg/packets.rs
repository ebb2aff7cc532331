//! The packets of a video stream, as FFmpeg's `framecrc` lists them.

use super::FfmpegFault;
use super::process::Process;

/// Most packets of a stream; at 30 a second, 19 hours.
const MAX_PACKETS: usize = 1 << 21;

/// Longest line; packets with side data have some hundred bytes.
const MAX_LINE_BYTES: usize = 1 << 16;

/// Flag of a packet whose frame is not shown.
const DISCARD: u32 = 4;

/// Times of the frames of a stream.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Packets {
    /// Width and height as stored.
    pub(super) size_wh: (u32, u32),
    /// Seconds of a tick.
    tick: f64,
    /// When each frame is shown and for how long, in ticks and in this order.
    shown: Vec<(i64, i64)>,
    has_times: bool,
}

impl Packets {
    pub(super) fn read(process: &mut Process) -> Result<Self, FfmpegFault> {
        let mut packets = Self {
            has_times: true,
            ..Self::default()
        };
        let mut line = Vec::new();
        while process.read_until(b'\n', MAX_LINE_BYTES, &mut line)? {
            let line = String::from_utf8_lossy(&line);
            if packets.add(line.trim()).is_none() {
                return Err(process.unexpected(format!("`{}`", line.trim())));
            }
            if packets.shown.len() > MAX_PACKETS {
                return Err(process.unexpected(format!("more than {MAX_PACKETS} packets")));
            }
        }
        packets.shown.sort_unstable();
        Ok(packets)
    }

    /// Reads one line, if it is one.
    fn add(&mut self, line: &str) -> Option<()> {
        if let Some(header) = line.strip_prefix('#') {
            if let Some(tick) = header.strip_prefix("tb 0: ") {
                let (numerator, denominator) = tick.split_once('/')?;
                let [numerator, denominator] =
                    [numerator, denominator].map(|number| number.parse::<u32>().ok());
                self.tick = f64::from(numerator?) / f64::from(denominator.filter(|&d| d > 0)?);
            } else if let Some(size) = header.strip_prefix("dimensions 0: ") {
                let (width, height) = size.split_once('x')?;
                self.size_wh = (width.parse().ok()?, height.parse().ok()?);
            }
            return Some(());
        }
        // Stream, time of decoding, time of showing, duration, size, checksum, perhaps flags.
        let mut fields = line.split(',').map(str::trim);
        let shown_at: i64 = fields.nth(2)?.parse().ok()?;
        let duration: i64 = fields.next()?.parse().ok()?;
        let flags = fields.nth(2).and_then(|field| field.strip_prefix("F=0x"));
        let flags = flags.map_or(Some(0), |flags| u32::from_str_radix(flags, 16).ok())?;
        if flags & DISCARD == 0 {
            self.has_times &= shown_at != i64::MIN;
            self.shown.push((shown_at, duration));
        }
        Some(())
    }

    pub(super) fn num_frames(&self) -> usize {
        self.shown.len()
    }

    /// When each frame is shown, if the stream has times.
    pub(super) fn seconds(&self) -> Option<Vec<f64>> {
        let seconds = self.shown.iter().map(|(at, _)| *at as f64 * self.tick);
        self.has_times.then(|| seconds.collect())
    }

    /// Frames a second on average, if the stream has times.
    pub(super) fn fps(&self) -> Option<f64> {
        let (begin, _) = self.shown.first().filter(|_| self.has_times)?;
        let ends = self
            .shown
            .iter()
            .map(|(at, duration)| at.saturating_add(*duration));
        let seconds = ends.max()? as f64 * self.tick - *begin as f64 * self.tick;
        let fps = self.shown.len() as f64 / seconds;
        Some(fps).filter(|fps| fps.is_normal() && *fps > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(lines: &str) -> Option<Packets> {
        let mut packets = Packets {
            has_times: true,
            ..Packets::default()
        };
        lines.lines().try_for_each(|line| packets.add(line))?;
        packets.shown.sort_unstable();
        Some(packets)
    }

    #[test]
    fn frames_are_in_the_order_of_showing() {
        let packets = packets(
            "#software: Lavf\n#tb 0: 1/1000\n#dimensions 0: 161x121\n\
             0, -50, 0, 50, 9, 0xce4c4d27\n0, 0, 100, 50, 9, 0x1, F=0x0\n0, 50, 50, 50, 9, 0x1, F=0x0, S=1, 4, 0x1\n\
             0, 50, 70, 50, 9, 0x1, F=0x4",
        )
        .unwrap();
        assert_eq!(packets.size_wh, (161, 121));
        assert_eq!(packets.seconds().unwrap(), [0.0, 0.05, 0.1]);
        assert_eq!(packets.fps(), Some(20.0));
    }

    #[test]
    fn a_stream_without_times_has_none() {
        let packets = packets("#tb 0: 1/25\n0, 0, -9223372036854775808, 1, 9, 0x1").unwrap();
        assert_eq!(
            (packets.num_frames(), packets.seconds(), packets.fps()),
            (1, None, None)
        );
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "hello",
            "0, 1, x, 1, 1, 0",
            "#tb 0: 1/0",
            "0, 1",
            "#dimensions 0: 1",
        ] {
            assert_eq!(packets(line), None, "{line}");
        }
    }
}
