//! The smallest MP4 file around an H.264 stream.

/// Kinds of units.
const SLICE: u8 = 1;
const INDEPENDENT_SLICE: u8 = 5;
const SEQUENCE_SET: u8 = 7;
const PICTURE_SET: u8 = 8;

/// An MP4 file with the units of a stream with start codes. A sample ends with the first slice of
/// a picture and the slices behind it; the first parameter sets stand in the description, too.
pub(crate) fn mp4(stream: &[u8]) -> Vec<u8> {
    let units = units(stream);
    let kind = |unit: &[u8]| unit.first().map_or(0, |head| head & 31);
    let first = |wanted| units.iter().find(|unit| kind(unit) == wanted);
    let first = |wanted| first(wanted).copied().unwrap_or(&[]);
    let mut samples: Vec<Vec<u8>> = Vec::new();
    let mut pending = Vec::new();
    for unit in &units {
        let is_slice = matches!(kind(unit), SLICE | INDEPENDENT_SLICE);
        // The number of the first block is 0 if its first bit is set.
        let is_first = unit.get(1).is_some_and(|byte| byte & 0x80 != 0);
        let prefixed = [&(unit.len() as u32).to_be_bytes()[..], unit].concat();
        match samples.last_mut() {
            Some(sample) if is_slice && !is_first && pending.is_empty() => sample.extend(prefixed),
            _ => pending.extend(prefixed),
        }
        if is_slice && !pending.is_empty() {
            samples.push(std::mem::take(&mut pending));
        }
    }
    let avcc = [
        &[1, 100, 0, 30, 0xFF, 0xE1][..],
        &short(first(SEQUENCE_SET)),
        &[1],
        &short(first(PICTURE_SET)),
    ]
    .concat();
    let ftyp = boxed(b"ftyp", &[b"isom\0\0\0\0isom".to_vec()]);
    let mdat = boxed(b"mdat", &samples);
    let moov = moov(&avcc, &samples, ftyp.len() as u32 + 8);
    [ftyp, mdat, moov].concat()
}

/// What stands between start codes.
fn units(stream: &[u8]) -> Vec<&[u8]> {
    let starts = stream
        .windows(3)
        .enumerate()
        .filter(|(_, window)| *window == [0, 0, 1]);
    let mut starts: Vec<usize> = starts.map(|(at, _)| at + 3).collect();
    starts.push(stream.len() + 3);
    let units = starts.windows(2).map(|pair| &stream[pair[0]..pair[1] - 3]);
    units.filter(|unit| !unit.is_empty()).collect()
}

fn short(unit: &[u8]) -> Vec<u8> {
    let unit = &unit[..unit.len().min(usize::from(u16::MAX))];
    [&(unit.len() as u16).to_be_bytes()[..], unit].concat()
}

fn boxed(kind: &[u8; 4], parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

/// The index: 25 samples a second in one chunk, decoding begins at the first.
fn moov(avcc: &[u8], samples: &[Vec<u8>], first_offset: u32) -> Vec<u8> {
    let count = samples.len() as u32;
    let mut sizes = vec![0, 0, count];
    sizes.extend(samples.iter().map(|sample| sample.len() as u32));
    let avc1 = boxed(b"avc1", &[vec![0; 78], boxed(b"avcC", &[avcc.to_vec()])]);
    let stbl = boxed(
        b"stbl",
        &[
            boxed(b"stsd", &[numbers(&[0, 1]), avc1]),
            boxed(b"stts", &[numbers(&[0, 1, count, 1])]),
            boxed(b"stsc", &[numbers(&[0, 1, 1, count, 1])]),
            boxed(b"stsz", &[numbers(&sizes)]),
            boxed(b"stco", &[numbers(&[0, 1, first_offset])]),
            boxed(b"stss", &[numbers(&[0, 1, 1])]),
        ],
    );
    let mdia = boxed(
        b"mdia",
        &[
            boxed(b"mdhd", &[numbers(&[0, 0, 0, 25, 0, 0])]),
            boxed(b"hdlr", &[numbers(&[0, 0]), b"vide".to_vec(), vec![0; 13]]),
            boxed(b"minf", &[stbl]),
        ],
    );
    let unturned = numbers(&[1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30]);
    let tkhd = boxed(
        b"tkhd",
        &[
            numbers(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
            unturned,
            vec![0; 8],
        ],
    );
    let mvhd = boxed(b"mvhd", &[numbers(&[0, 0, 0, 25, 0]), vec![0; 80]]);
    boxed(b"moov", &[mvhd, boxed(b"trak", &[tkhd, mdia])])
}
