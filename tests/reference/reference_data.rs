use std::collections::HashMap;
use std::path::{Path, PathBuf};

use plm::{
    Conversation, Decoding, DeviceChoice, EncodeOptions, FrameSampling, Penalties, PerceptionLM,
};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::Value;

/// Largest difference of a last-position logit in f32 on the CPU.
pub const LOGIT_TOLERANCE: f32 = 2e-3;

/// The same on a GPU, whose sines, exponentials and sums are less exact.
const GPU_LOGIT_TOLERANCE: f32 = 5e-3;

/// Where `cases`, `stages`, `precision` and `finetune` compute: on the CPU, or on the device that the
/// environment variable `PLM_TEST_DEVICE` names, such as `wgpu`.
pub fn device() -> DeviceChoice {
    match std::env::var("PLM_TEST_DEVICE") {
        Ok(name) => name.parse().expect("PLM_TEST_DEVICE names a device"),
        Err(_) => DeviceChoice::Flex,
    }
}

/// Largest difference of a last-position logit in f32 on [`device`].
pub fn logit_tolerance() -> f32 {
    match device() {
        DeviceChoice::Flex => LOGIT_TOLERANCE,
        _ => GPU_LOGIT_TOLERANCE,
    }
}

/// A margin between the two best logits below which another f32 implementation may choose
/// differently; implementations on CPUs agree to some 1e-4.
fn thin_margin() -> f32 {
    logit_tolerance()
}

/// Whether a case is among those that the environment variable `PLM_TEST_CASES` names, by parts of
/// their names with commas between them, if it is set.
pub fn is_wanted(id: &str) -> bool {
    match std::env::var("PLM_TEST_CASES") {
        Ok(parts) => parts.split(',').any(|part| id.contains(part)),
        Err(_) => true,
    }
}

/// The project's fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The fixture that is like the 1B and 3B models.
pub fn tiny() -> PathBuf {
    fixtures().join("tiny")
}

/// The folder of the larger set of reference results, or nothing (said loudly).
pub fn golden() -> Option<PathBuf> {
    let dir = std::env::var_os("PLM_GOLDEN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden"),
        PathBuf::from,
    );
    if dir.join("manifest.json").is_file() {
        return Some(dir);
    }
    eprintln!(
        "SKIPPED: no reference results at {}; set PLM_GOLDEN to run these tests",
        dir.display()
    );
    None
}

/// One conversation, or several, and what the reference made of them.
#[derive(Debug, Deserialize)]
pub struct Case {
    pub id: String,
    pub vision_input_type: String,
    pub max_num_tiles: u32,
    pub max_new_tokens: usize,
    pub generation: Generation,
    pub messages: Option<Value>,
    pub batch_messages: Option<Vec<Value>>,
    #[serde(default)]
    pub input_ids_rle: Value,
    pub num_tiles: Option<Value>,
    #[serde(default)]
    pub num_frames: Option<usize>,
    pub num_video_frames: Option<Value>,
    #[serde(default)]
    pub greedy_ids: Value,
    #[serde(default)]
    pub greedy_margins: Value,
    #[serde(default)]
    pub greedy_text: Value,
    pub stop_case: Option<StopCase>,
    pub score: Option<Vec<ScoreCase>>,
    pub all_logits_stride: Option<usize>,
}

/// Settings by the reference's names.
#[derive(Debug, Default, Deserialize)]
pub struct Generation {
    pub num_beams: Option<usize>,
    pub length_penalty: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub no_repeat_ngram_size: Option<usize>,
    pub eos_token_id: Option<Vec<u32>>,
}

/// The same conversation with one more stop id.
#[derive(Debug, Deserialize)]
pub struct StopCase {
    pub extra_eos: u32,
    pub greedy_ids: Vec<u32>,
}

/// A given answer and its log-probabilities.
#[derive(Debug, Deserialize)]
pub struct ScoreCase {
    pub continuation: String,
    pub continuation_ids: Vec<u32>,
    pub logprobs: Vec<f32>,
    pub sum_logprob: f64,
    pub token_is_argmax: Vec<bool>,
}

/// Whether videos can be read through FFmpeg, or a loud notice that they are not.
pub fn has_ffmpeg() -> bool {
    let program = std::env::var_os("PLM_FFMPEG").unwrap_or_else(|| "ffmpeg".into());
    let answer = std::process::Command::new(&program)
        .arg("-version")
        .output();
    let has = answer.is_ok_and(|answer| answer.status.success());
    if !has {
        let program = program.display();
        eprintln!("SKIPPED: no FFmpeg at `{program}`; install it, or set PLM_FFMPEG");
    }
    has
}

/// Cases of one checkpoint with the tensors that belong to them.
pub struct Cases {
    pub cases: Vec<Case>,
    pub media_root: PathBuf,
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Cases {
    /// Reads `<stem>.json` and `<stem>.safetensors`.
    pub fn read(stem: &Path, media_root: &Path) -> Self {
        #[derive(Deserialize)]
        struct File {
            cases: Vec<Case>,
        }
        let json = std::fs::read(stem.with_extension("json")).expect("cases");
        let file: File = serde_json::from_slice(&json).expect("cases");
        Self {
            cases: file.cases,
            media_root: media_root.to_owned(),
            tensors: read_f32_tensors(&stem.with_extension("safetensors")),
        }
    }

    /// A tensor of a case, if the reference stored it.
    pub fn tensor(&self, case: &Case, name: &str) -> Option<&(Vec<usize>, Vec<f32>)> {
        let case_name = case.id.split('/').next_back().unwrap();
        self.tensors.get(&format!("{case_name}/{name}"))
    }
}

/// Every f32 tensor of a file, by name.
pub fn read_f32_tensors(path: &Path) -> HashMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).expect("tensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    tensors
        .iter()
        .filter(|(_, view)| view.dtype() == safetensors::Dtype::F32)
        .map(|(name, view)| {
            let values = view.data().as_chunks::<4>().0;
            let values = values.iter().map(|&b| f32::from_le_bytes(b)).collect();
            (name.to_owned(), (view.shape().to_vec(), values))
        })
        .collect()
}

impl Case {
    pub fn is_video(&self) -> bool {
        self.num_video_frames.is_some()
    }

    /// Whether a clip of the case is in a container that needs FFmpeg.
    pub fn has_webm(&self) -> bool {
        let messages = self.messages.as_ref().map(Value::to_string);
        messages.is_some_and(|messages| messages.contains(".webm"))
    }

    pub fn is_batch(&self) -> bool {
        self.batch_messages.is_some()
    }

    /// How the reference encoded this case. It always parses special tokens in texts; here that
    /// is asked for only where it makes a difference.
    pub fn encoding(&self) -> EncodeOptions {
        EncodeOptions {
            vision_input_type: Some(self.vision_input_type.parse().unwrap()),
            max_num_tiles: Some(self.max_num_tiles),
            frame_sampling: self.num_frames.map(FrameSampling::num_frames),
            parse_special: self.id.ends_with("special_in_user_text"),
            ..EncodeOptions::default()
        }
    }

    /// The settings, with stop ids beyond the checkpoint's.
    pub fn decoding(&self) -> Decoding {
        let Generation {
            num_beams,
            length_penalty,
            repetition_penalty,
            no_repeat_ngram_size,
            eos_token_id,
        } = &self.generation;
        Decoding {
            max_new_tokens: self.max_new_tokens,
            num_beams: num_beams.unwrap_or(1),
            length_penalty: length_penalty.unwrap_or(1.0),
            penalties: Penalties {
                repetition: repetition_penalty.unwrap_or(1.0),
                no_repeat_ngram: no_repeat_ngram_size.unwrap_or(0),
            },
            stop_ids: eos_token_id.clone().unwrap_or_default(),
            ..Decoding::default()
        }
    }

    pub fn conversation(&self, messages: &Value, media_root: &Path) -> Conversation {
        let messages = lossless_media(messages, media_root);
        Conversation::from_json(&messages, media_root)
            .unwrap_or_else(|error| panic!("{}: {error}", self.id))
    }

    pub fn prompt(&self, plm: &PerceptionLM, messages: &Value, root: &Path) -> plm::Prompt {
        let conversation = self.conversation(messages, root);
        plm.processor()
            .encode(&conversation, &self.encoding())
            .unwrap_or_else(|error| panic!("{}: {error}", self.id))
    }
}

/// Points to the lossless copy of a picture where there is one, so that decoders that differ by a
/// level do not blur the comparison.
fn lossless_media(messages: &Value, media_root: &Path) -> Value {
    match messages {
        Value::Array(items) => items
            .iter()
            .map(|v| lossless_media(v, media_root))
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| {
                let copy = value
                    .as_str()
                    .filter(|_| key == "path")
                    .and_then(|path| path.strip_prefix("media/"))
                    .map(|name| format!("media_rgb/{name}.png"))
                    .filter(|copy| media_root.join(copy).is_file());
                let value = copy.map_or_else(|| lossless_media(value, media_root), Value::from);
                (key.clone(), value)
            })
            .collect(),
        other => other.clone(),
    }
}

/// Expands `[id, count]` pairs.
pub fn expand_rle(pairs: &Value) -> Vec<u32> {
    let number = |value: &Value| value.as_u64().unwrap() as u32;
    pairs
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|pair| vec![number(&pair[0]); number(&pair[1]) as usize])
        .collect()
}

/// Numbers of a JSON array.
pub fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

/// Compares generated ids up to the first step whose margin is too thin to tell.
pub fn assert_same_ids(what: &str, found: &[u32], expected: &[u32], margins: &[f32]) {
    let certain = margins
        .iter()
        .position(|&margin| margin < thin_margin())
        .unwrap_or(expected.len());
    if certain == expected.len() {
        assert_eq!(found.len(), expected.len(), "{what}: number of tokens");
    }
    assert_eq!(
        &found[..certain.min(found.len())],
        &expected[..certain],
        "{what}: ids differ before any thin margin"
    );
}

/// Compares values and returns the largest difference.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) -> f32 {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let difference =
        found
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs())
            .fold(
                0.0,
                |max: f32, d| if d.is_nan() { f32::NAN } else { max.max(d) },
            );
    assert!(
        difference <= tolerance,
        "{what}: differs by {difference}, more than {tolerance}"
    );
    difference
}
