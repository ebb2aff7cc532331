use plm::{Checkpoint, Conversation, Estimate};
use serde::Serialize;

use crate::error::Error;
use crate::output;
use crate::request::{GenerateRequest, Questions};

/// What a prompt and its answer would cost, as it is printed for programs.
#[derive(Debug, Serialize)]
struct EstimateReport {
    prompt_tokens: usize,
    media_tokens: usize,
    media_tiles: Vec<usize>,
    num_tiles: usize,
    max_new_tokens: usize,
    total_tokens: usize,
    max_positions: usize,
    fits: bool,
    num_parameters: u64,
    weight_bytes: u64,
    kv_cache_bytes: u64,
    vision_flops: u64,
    prefill_flops: u64,
    decode_flops_per_token: u64,
}

/// Prints the cost of the request's conversations; no weights are read.
pub(crate) fn run(request: &GenerateRequest, as_json: bool) -> Result<(), Error> {
    let reports = reports(request)?;
    request.model.source.note_embedded_files();
    reports.iter().try_for_each(|report| print(report, as_json))
}

fn reports(request: &GenerateRequest) -> Result<Vec<EstimateReport>, Error> {
    match &request.questions {
        Questions::One(source) => {
            let conversation = source.read()?;
            let checkpoint = request.model.source.checkpoint()?;
            let report = estimate(request, &checkpoint, &conversation);
            Ok(vec![report.map_err(|error| source.blame(error))?])
        }
        Questions::Batch(source) => {
            let lines = source.lines()?;
            let checkpoint = request.model.source.checkpoint()?;
            let reports = lines.iter().map(|line| {
                estimate(request, &checkpoint, &line.conversation()?)
                    .map_err(|error| error.at(&line.place))
            });
            reports.collect()
        }
    }
}

fn estimate(
    request: &GenerateRequest,
    checkpoint: &Checkpoint,
    conversation: &Conversation,
) -> Result<EstimateReport, Error> {
    let options = &request.model.options;
    let max_new_tokens = request.decoding.max_new_tokens;
    let encoding = request
        .model
        .encoding(checkpoint, conversation, max_new_tokens)?;
    let size = checkpoint.processor.measure(conversation, &encoding)?;
    let estimate = Estimate::new(&checkpoint.config, &size, max_new_tokens, options);
    Ok(EstimateReport {
        prompt_tokens: estimate.prompt_tokens,
        media_tokens: estimate.media_tokens,
        media_tiles: size.media.iter().map(|media| media.num_tiles).collect(),
        num_tiles: estimate.num_tiles,
        max_new_tokens,
        total_tokens: estimate.total_tokens,
        max_positions: estimate.max_positions,
        fits: estimate.fits(),
        num_parameters: estimate.num_parameters,
        weight_bytes: estimate.weight_bytes,
        kv_cache_bytes: estimate.kv_cache_bytes,
        vision_flops: estimate.vision_flops,
        prefill_flops: estimate.prefill_flops,
        decode_flops_per_token: estimate.decode_flops_per_token,
    })
}

fn print(report: &EstimateReport, as_json: bool) -> Result<(), Error> {
    if as_json {
        return output::json(report);
    }
    let fits = if report.fits {
        "they fit".to_owned()
    } else if report.prompt_tokens <= report.max_positions {
        // The last token of an answer is never read, so it needs no position.
        format!(
            "the answer would be cut at {} tokens",
            report.max_positions - report.prompt_tokens + 1
        )
    } else {
        "the prompt does not fit; set --max-num-tiles lower or --vision-input-type vanilla"
            .to_owned()
    };
    output::line(&format!(
        "prompt      {} tokens, {} of them for {} tiles\n\
         positions   {} with {} new tokens, of {}: {fits}\n\
         parameters  {}\n\
         weights     {} ({} bits)\n\
         KV cache    {} (f32, at the longest answer)\n\
         vision      {}\n\
         prefill     {}\n\
         decode      {} a token",
        report.prompt_tokens,
        report.media_tokens,
        report.num_tiles,
        report.total_tokens,
        report.max_new_tokens,
        report.max_positions,
        scaled(report.num_parameters, ""),
        scaled(report.weight_bytes, "B"),
        8 * report.weight_bytes / report.num_parameters.max(1),
        scaled(report.kv_cache_bytes, "B"),
        scaled(report.vision_flops, "FLOP"),
        scaled(report.prefill_flops, "FLOP"),
        scaled(report.decode_flops_per_token, "FLOP"),
    ))
}

/// A number with three digits and a decimal prefix.
fn scaled(value: u64, unit: &str) -> String {
    let mut scaled = value as f64;
    let mut prefixes = ["", "k", "M", "G", "T", "P", "E"].into_iter();
    let mut prefix = prefixes.next().unwrap_or_default();
    // 999.5 would be rounded to a fourth digit.
    while scaled >= 999.5
        && let Some(next) = prefixes.next()
    {
        scaled /= 1000.0;
        prefix = next;
    }
    let decimals = match scaled {
        _ if prefix.is_empty() => 0,
        x if x < 9.995 => 2,
        x if x < 99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$} {prefix}{unit}")
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(scaled(0, "B"), "0 B");
        assert_eq!(scaled(999, "B"), "999 B");
        assert_eq!(scaled(1_234, "B"), "1.23 kB");
        assert_eq!(scaled(99_960, ""), "100 k");
        assert_eq!(scaled(999_600, "FLOP"), "1.00 MFLOP");
        assert_eq!(scaled(1_532_000_000, ""), "1.53 G");
        assert_eq!(scaled(u64::MAX, "B"), "18.4 EB");
    }
}
