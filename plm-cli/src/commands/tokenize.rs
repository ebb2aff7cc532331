use plm_processor::SpecialTokens;
use serde::Serialize;

use crate::args::TokenizeArgs;
use crate::error::Error;
use crate::model::ModelSource;
use crate::output;

#[derive(Debug, Serialize)]
struct Report {
    ids: Vec<u32>,
    tokens: Vec<String>,
    count: usize,
}

pub(crate) fn run(args: TokenizeArgs) -> Result<(), Error> {
    let model = ModelSource::parse(args.model.model)?;
    let checkpoint = model.checkpoint()?;
    let tokenizer = checkpoint.processor.tokenizer();
    let special = if args.no_special {
        SpecialTokens::AsText
    } else {
        SpecialTokens::Parse
    };
    let ids = tokenizer.encode(&args.text, special)?;
    let report = Report {
        // Every id that the tokenizer returns is in its vocabulary.
        tokens: ids.iter().filter_map(|&id| tokenizer.token(id)).collect(),
        count: ids.len(),
        ids,
    };
    model.note_embedded_files();
    if args.json {
        return output::json(&report);
    }
    let rows = report.ids.iter().zip(&report.tokens);
    let table: String = rows
        .map(|(id, token)| format!("{id:7}  {token}\n"))
        .collect();
    output::piece(&table)
}
