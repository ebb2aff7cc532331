//! Where a checkpoint's chat template stands, and its text.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files::{
    CHAT_TEMPLATE, CHAT_TEMPLATE_JSON, PROCESSOR_CONFIG, ProcessorFiles, TOKENIZER_CONFIG,
};

/// Longest chat template; real ones have up to 10 kB. A longer one could nest deeper than the
/// engine's parser has stack for.
pub const MAX_TEMPLATE_SOURCE_BYTES: usize = 16 << 10;

/// Writes what the template of the released checkpoints writes, for checkpoints without one.
pub const DEFAULT_CHAT_TEMPLATE: &str = include_str!("../default_template.jinja");

/// Finds the template in the reference's order: the field of `processor_config.json`, else
/// `chat_template.json`, else `chat_template.jinja`. The field of `tokenizer_config.json`, which
/// the reference does not read, and the built-in template come last.
pub(super) fn find(files: &ProcessorFiles<'_>) -> Result<(String, String)> {
    let field = |name: &str, bytes: &Option<_>| field_of(&files.name_of(name), bytes.as_deref());
    if let Some(found) = field(PROCESSOR_CONFIG, &files.processor_config)? {
        return Ok(found);
    }
    if let Some(found) = field(CHAT_TEMPLATE_JSON, &files.chat_template_json)? {
        return Ok(found);
    }
    if let Some(bytes) = &files.chat_template {
        let file = files.name_of(CHAT_TEMPLATE);
        let source = std::str::from_utf8(bytes)
            .map_err(|_| invalid(&file, "no UTF-8 text".to_owned(), "a Jinja template"))?;
        return checked(source, file);
    }
    if let Some(found) = field(TOKENIZER_CONFIG, &files.tokenizer_config)? {
        return Ok(found);
    }
    Ok((DEFAULT_CHAT_TEMPLATE.to_owned(), "plm-processor".to_owned()))
}

/// The field `chat_template` of a JSON file, if it has one.
fn field_of(file: &str, json: Option<&[u8]>) -> Result<Option<(String, String)>> {
    let Some(json) = json else { return Ok(None) };
    let fields: Map<String, Value> =
        serde_json::from_slice(json).map_err(|source| Error::Json {
            file: file.to_owned(),
            source,
        })?;
    match fields.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(field) => match default_of(field) {
            Some(source) => checked(source, file.to_owned()).map(Some),
            None => Err(invalid(
                file,
                field.to_string(),
                "a template, or several with one named `default`",
            )),
        },
    }
}

/// A template, or the one named `default` among several.
fn default_of(field: &Value) -> Option<&str> {
    match field {
        Value::String(source) => Some(source),
        Value::Array(named) => {
            let default = named.iter().find(|entry| entry["name"] == "default")?;
            default["template"].as_str()
        }
        other => other["default"].as_str(),
    }
}

fn checked(source: &str, file: String) -> Result<(String, String)> {
    if source.trim().is_empty() {
        return Err(invalid(&file, "empty".to_owned(), "a Jinja template"));
    }
    if source.len() > MAX_TEMPLATE_SOURCE_BYTES {
        let found = format!("{} bytes long", source.len());
        let expected = format!("at most {MAX_TEMPLATE_SOURCE_BYTES}");
        return Err(invalid(&file, found, &expected));
    }
    Ok((without_generation_blocks(source), file))
}

/// Makes plain blocks of `{% generation %}` and `{% endgeneration %}`, which mark answers for
/// training and write nothing.
fn without_generation_blocks(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, block) = rest.split_at(at);
        plain.push_str(before);
        let Some(end) = block.find("%}") else {
            rest = block;
            break;
        };
        let (block, after) = block.split_at(end + 2);
        let words = block[2..end].trim_matches(|c: char| c.is_whitespace() || "+-".contains(c));
        plain.push_str(&match words {
            "generation" => block.replace("generation", "if true"),
            "endgeneration" => block.replace("endgeneration", "endif"),
            _ => block.to_owned(),
        });
        rest = after;
    }
    plain + rest
}

fn invalid(file: &str, value: String, expected: &str) -> Error {
    Error::InvalidConfig {
        file: file.to_owned(),
        field: "chat_template",
        value,
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> ProcessorFiles<'static> {
        ProcessorFiles::new("dir", b"{}".as_slice())
    }

    fn json(source: &str) -> Option<std::borrow::Cow<'static, [u8]>> {
        let json = serde_json::json!({ "chat_template": source }).to_string();
        Some(json.into_bytes().into())
    }

    #[test]
    fn templates_are_found_in_the_references_order() {
        let mut files = files();
        let found = |files: &ProcessorFiles<'_>| find(files).unwrap().0;
        assert_eq!(found(&files), DEFAULT_CHAT_TEMPLATE);
        files.tokenizer_config = json("tokenizer");
        assert_eq!(found(&files), "tokenizer");
        files.chat_template = Some(b"jinja".as_slice().into());
        assert_eq!(found(&files), "jinja");
        files.chat_template_json = json("json");
        assert_eq!(found(&files), "json");
        files.processor_config = json("processor");
        assert_eq!(found(&files), "processor");
    }

    #[test]
    fn the_default_is_taken_of_several() {
        let listed = serde_json::json!([{"name": "a", "template": "1"}, {"name": "default", "template": "2"}]);
        assert_eq!(default_of(&listed), Some("2"));
        assert_eq!(default_of(&serde_json::json!({"default": "3"})), Some("3"));
        assert_eq!(default_of(&serde_json::json!({"other": "3"})), None);
    }

    #[test]
    fn damaged_templates_are_named() {
        let message = |edit: &dyn Fn(&mut ProcessorFiles<'static>)| {
            let mut files = files();
            edit(&mut files);
            find(&files).unwrap_err().to_string()
        };
        let long = "a".repeat(MAX_TEMPLATE_SOURCE_BYTES + 1).into_bytes();
        for (bytes, expected) in [
            (b" \n".to_vec(), "is empty in dir/chat_template.jinja"),
            (
                vec![0xFF, b'a'],
                "is no UTF-8 text in dir/chat_template.jinja",
            ),
            (long, "is 16385 bytes long in dir/chat_template.jinja"),
        ] {
            let message = message(&|files| files.chat_template = Some(bytes.clone().into()));
            assert!(message.contains(expected), "{message}");
        }
        for (json, expected) in [
            ("[]", "dir/tokenizer_config.json cannot be understood"),
            ("null", "dir/tokenizer_config.json cannot be understood"),
            (
                r#"{"chat_template": 5}"#,
                "is 5 in dir/tokenizer_config.json",
            ),
            (r#"{"chat_template": [{"name": "a"}]}"#, "named `default`"),
        ] {
            let message =
                message(&|files| files.tokenizer_config = Some(json.as_bytes().to_vec().into()));
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn generation_blocks_are_plain_blocks() {
        assert_eq!(
            without_generation_blocks("a{%- generation -%}b{% endgeneration %}c{% if x %}"),
            "a{%- if true -%}b{% endif %}c{% if x %}"
        );
        assert_eq!(without_generation_blocks("a {% b"), "a {% b");
    }
}
