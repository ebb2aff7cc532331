//! Ways of asking against each other: stream, batch, session, score, stop strings.

use std::path::Path;

use plm::{
    Content, Conversation, Decoding, EncodeOptions, Error, Estimate, Finish, Image, LoadOptions,
    PerceptionLM, RandomSampling, Sampling, VisionInputType,
};
use proptest::prelude::*;

use crate::reference_data::{fixtures, golden, tiny};

fn load() -> PerceptionLM {
    PerceptionLM::from_dir(tiny(), &LoadOptions::default()).unwrap()
}

fn load_dir(dir: &Path) -> PerceptionLM {
    let options = LoadOptions {
        encoding: EncodeOptions {
            vision_input_type: Some(VisionInputType::Vanilla),
            ..EncodeOptions::default()
        },
        ..LoadOptions::default()
    };
    PerceptionLM::from_dir(dir, &options).unwrap()
}

fn picture(name: &str) -> Content {
    Image::open(fixtures().join("media").join(name))
        .unwrap()
        .into()
}

fn ask() -> Conversation {
    Conversation::ask("What can you see in the picture?", [picture("shapes.png")])
}

fn short() -> Decoding {
    Decoding {
        max_new_tokens: 12,
        ..Decoding::default()
    }
}

fn random(seed: u64) -> Decoding {
    Decoding {
        sampling: Sampling::Random(RandomSampling {
            temperature: 1.2,
            top_k: Some(50),
            ..RandomSampling::default()
        }),
        seed,
        ..short()
    }
}

#[test]
fn a_stream_is_the_answer_in_pieces() {
    let plm = load();
    for decoding in [short(), random(1), random(2)] {
        let answer = plm.generate(&ask(), &decoding).unwrap();
        let mut stream = plm.stream(&ask(), &decoding).unwrap();
        let pieces: Vec<String> = stream.by_ref().map(Result::unwrap).collect();
        assert_eq!(pieces.concat(), answer.text);
        assert_eq!(stream.answer().token_ids, answer.token_ids);
    }
}

#[test]
fn the_same_seed_gives_the_same_answer_and_others_differ() {
    let plm = load();
    let ids = |seed| plm.generate(&ask(), &random(seed)).unwrap().token_ids;
    assert_eq!(ids(7), ids(7));
    assert!((0..8).any(|seed| ids(seed) != ids(7)));
}

#[test]
fn a_dropped_stream_leaves_the_model_as_it_was() {
    let plm = load();
    let before = plm.generate(&ask(), &short()).unwrap();
    let mut stream = plm.stream(&ask(), &short()).unwrap();
    stream.next().unwrap().unwrap();
    drop(stream);
    assert_eq!(plm.generate(&ask(), &short()).unwrap().text, before.text);
}

#[test]
fn one_model_serves_many_threads() {
    let plm = load();
    let expected = plm.generate(&ask(), &short()).unwrap().token_ids;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| plm.generate(&ask(), &short()).unwrap().token_ids))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}

#[test]
fn a_batch_of_unequal_prompts_equals_single_runs() {
    let plm = load();
    let conversations = [
        Conversation::ask("Hi", []),
        ask(),
        Conversation::ask(
            "Compare them.",
            [picture("shapes.png"), picture("rings.png")],
        ),
        Conversation::ask(
            "A longer question that has no picture at all, only words.",
            [],
        ),
    ];
    let prompts: Vec<_> = conversations
        .iter()
        .map(|c| plm.encode(c).unwrap())
        .collect();
    for decoding in [short(), random(3)] {
        let batch = plm.generate_batch(&prompts, &decoding).unwrap();
        for (prompt, answer) in prompts.iter().zip(&batch) {
            let single = plm.generate_prompt(prompt, &decoding).unwrap();
            assert_eq!(answer.token_ids, single.token_ids);
            assert_eq!(answer.text, single.text);
            assert_eq!(answer.finish, single.finish);
        }
    }
    assert!(plm.generate_batch(&[], &short()).unwrap().is_empty());
}

fn check_session(plm: &PerceptionLM) {
    let mut session = plm.session().with_system("Answer briefly.");
    let turns = [
        vec![picture("shapes.png"), "What is this?".into()],
        vec!["And what else?".into()],
        vec![picture("rings.png"), "Is this one different?".into()],
    ];
    let mut conversation = Conversation::new().system("Answer briefly.");
    for (turn, content) in turns.into_iter().enumerate() {
        let answer = session.ask(content.clone(), &short()).unwrap();
        conversation = conversation.message(plm::Message::new(plm::Role::User, content));
        let fresh = plm.generate(&conversation, &short()).unwrap();
        assert_eq!(answer.token_ids, fresh.token_ids, "turn {turn}");
        assert_eq!(answer.usage.prompt_tokens, fresh.usage.prompt_tokens);
        assert_eq!(answer.usage.cached_tokens > 0, turn > 0, "turn {turn}");
        conversation = conversation.assistant(answer.text);
    }
    assert_eq!(*session.conversation(), conversation);
}

#[test]
fn a_session_answers_like_a_fresh_run_and_reads_only_what_is_new() {
    check_session(&load());
    check_session(&load_dir(&fixtures().join("gigantic")));
}

#[test]
fn a_session_by_metas_rules_looks_anew_at_pictures_that_lose_their_tiles() {
    let options = LoadOptions {
        encoding: EncodeOptions {
            rules: plm::Rules::Meta,
            ..EncodeOptions::default()
        },
        ..LoadOptions::default()
    };
    check_session(&PerceptionLM::from_dir(tiny(), &options).unwrap());
}

#[test]
fn golden_sessions_answer_like_fresh_runs() {
    let Some(golden) = golden() else { return };
    for variant in ["tinyL", "tinyG", "tinyO"] {
        check_session(&load_dir(&golden.join("models").join(variant)));
    }
}

#[test]
fn a_default_picture_is_counted_and_priced_without_running() {
    let Some(golden) = golden() else { return };
    let start = std::time::Instant::now();
    let checkpoint = plm::Checkpoint::from_dir(golden.join("models/tinyL")).unwrap();
    let picture = Image::from_rgb8(640, 480, vec![90; 640 * 480 * 3]).unwrap();
    let ask = Conversation::ask("What is on the table?", [picture.into()]);
    let size = checkpoint
        .processor
        .measure(&ask, &EncodeOptions::default())
        .unwrap();
    let estimate = Estimate::new(&checkpoint.config, &size, 256, &LoadOptions::default());
    assert_eq!((estimate.num_tiles, estimate.media_tokens), (36, 9216));
    assert!(start.elapsed().as_secs_f64() < 1.0);
}

#[test]
fn beams_stop_at_a_stop_string() {
    let plm = load();
    let beams = Decoding {
        num_beams: 3,
        ..short()
    };
    let whole = plm.generate(&ask(), &beams).unwrap();
    let stop: String = whole.text.chars().skip(2).take(1).collect();
    let decoding = Decoding {
        stop_strings: vec![stop.clone()],
        ..beams
    };
    let answer = plm.generate(&ask(), &decoding).unwrap();
    assert!(!answer.text.contains(&stop), "{:?}", answer.text);
    let raw = plm.processor().text(&answer.token_ids).unwrap();
    assert_eq!(raw.contains(&stop), answer.finish == Finish::Stop);
}

#[test]
fn a_row_padded_by_more_than_a_chunk_answers_as_if_alone() {
    let plm = load();
    let prompts: Vec<_> = ["Hi", &"word ".repeat(350)]
        .into_iter()
        .map(|text| plm.encode(&Conversation::ask(text, [])).unwrap())
        .collect();
    let padding = prompts[1].token_ids.len() - prompts[0].token_ids.len();
    assert!(padding > 512, "{padding}");
    let batch = plm.generate_batch(&prompts, &short()).unwrap();
    for (prompt, answer) in prompts.iter().zip(&batch) {
        let single = plm.generate_prompt(prompt, &short()).unwrap();
        assert_eq!(answer.token_ids, single.token_ids);
    }
}

#[test]
fn a_session_forgets_a_question_that_failed() {
    let plm = load();
    let mut session = plm.session();
    session.ask(vec!["One.".into()], &short()).unwrap();
    let before = session.conversation().clone();
    let many = vec!["word ".repeat(4000).into()];
    let error = session.ask(many, &short()).unwrap_err();
    assert!(matches!(error, Error::PromptTooLong { .. }), "{error}");
    assert_eq!(*session.conversation(), before);
    session.ask(vec!["Two.".into()], &short()).unwrap();
}

#[test]
fn a_stop_string_across_tokens_ends_the_text_before_it() {
    let plm = load();
    let whole = plm.generate(&ask(), &short()).unwrap();
    // The last character of one token and the first of the next.
    let decode = |n: usize| plm.processor().text(&whole.token_ids[..n]).unwrap();
    let (split, stop) = (1..whole.token_ids.len())
        .find_map(|n| {
            let head = decode(n);
            let rest = whole.text.strip_prefix(&head)?;
            let (last, next) = (head.chars().next_back()?, rest.chars().next()?);
            let ascii = last.is_ascii() && next.is_ascii();
            ascii.then(|| (head.len() - 1, format!("{last}{next}")))
        })
        .expect("two tokens of plain text");
    assert!(whole.text[split..].starts_with(&stop));
    let decoding = Decoding {
        stop_strings: vec![stop.clone()],
        ..short()
    };
    let answer = plm.generate(&ask(), &decoding).unwrap();
    assert_eq!(answer.text, whole.text[..whole.text.find(&stop).unwrap()]);
    assert_eq!(answer.finish, Finish::Stop);
    let streamed: String = plm
        .stream(&ask(), &decoding)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(streamed, answer.text);
}

#[test]
fn a_score_is_the_log_softmax_and_knows_the_greedy_answer() {
    let plm = load();
    let prompt = plm.encode(&ask()).unwrap();
    let answer = plm.generate_prompt(&prompt, &short()).unwrap();
    let score = plm.score_tokens(&prompt, &answer.token_ids).unwrap();
    assert!(score.is_greedy);
    let logits = plm.trace(&prompt, false).unwrap().logits.values;
    let first = plm_llm::log_softmax(&logits)[answer.token_ids[0] as usize];
    assert!((score.token_log_probs[0] - first).abs() < 1e-4);
    let sum: f64 = score.token_log_probs.iter().map(|&p| f64::from(p)).sum();
    assert!((sum - score.log_likelihood).abs() < 1e-9);

    let mut other = answer.token_ids.clone();
    other[2] = (other[2] + 1) % 256;
    let other = plm.score_tokens(&prompt, &other).unwrap();
    assert!(!other.is_greedy && other.log_likelihood < score.log_likelihood);

    assert!(matches!(
        plm.score(&prompt, ""),
        Err(Error::Decoding { .. })
    ));
    let error = plm.score_tokens(&prompt, &[1, 999_999, 2]).unwrap_err();
    assert!(error.to_string().contains("999999"), "{error}");
}

#[test]
fn beams_cannot_be_streamed_or_sampled() {
    let plm = load();
    let beams = Decoding {
        num_beams: 2,
        ..short()
    };
    let error = plm.stream(&ask(), &beams).err().unwrap();
    assert!(error.to_string().contains("cannot be streamed"), "{error}");
    let sampled = Decoding {
        num_beams: 2,
        ..random(0)
    };
    let error = plm.generate(&ask(), &sampled).unwrap_err();
    assert!(error.to_string().contains("num_beams"), "{error}");
}

#[test]
fn a_prompt_that_is_too_long_is_refused_with_its_count_and_the_knobs() {
    let plm = load();
    let limit = plm.config().text.max_positions;
    let conversation = Conversation::ask("word ".repeat(2 * limit), [picture("rings.png")]);
    let error = plm.generate(&conversation, &short()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("the model has {limit} positions")),
        "{text}"
    );
    assert!(
        text.contains("max_num_tiles") && text.contains("vanilla"),
        "{text}"
    );
}

#[test]
fn an_answer_ends_at_the_last_position() {
    let plm = load();
    let limit = plm.config().text.max_positions;
    let base = plm
        .encode(&Conversation::ask("", []))
        .unwrap()
        .token_ids
        .len();
    let mut conversation = Conversation::ask("9 ".repeat((limit - base) / 2 - 2), []);
    let room = limit - plm.encode(&conversation).unwrap().token_ids.len();
    assert!(room < 40, "{room}");
    let decoding = Decoding {
        max_new_tokens: 1000,
        ..Decoding::default()
    };
    conversation.system = None;
    let answer = plm.generate(&conversation, &decoding).unwrap();
    // The last token is never read, so it takes no position.
    assert!(answer.token_ids.len() <= room + 1);
}

#[test]
fn the_cost_is_known_before_anything_runs() {
    let plm = load();
    let estimate = plm.estimate(&ask(), &short()).unwrap();
    let prompt = plm.encode(&ask()).unwrap();
    assert_eq!(estimate.prompt_tokens, prompt.token_ids.len());
    assert_eq!(estimate.num_tiles, prompt.num_tiles());
    assert_eq!(estimate.total_tokens, estimate.prompt_tokens + 12);
    assert!(estimate.fits());
    let weights = plm.config().num_parameters();
    assert_eq!(estimate.num_parameters, weights);
    // bf16 matrices, the rest in f32.
    assert!(plm.weight_bytes() > 2 * weights && plm.weight_bytes() < 3 * weights);
    let text_only: Estimate = plm
        .estimate(&Conversation::ask("Hi", []), &short())
        .unwrap();
    assert_eq!(text_only.vision_flops, 0);
}

#[test]
fn released_sizes_have_the_released_numbers_of_parameters() {
    use plm::Config;
    let config = |arch: &str, width: usize, depth: usize, text: &str, tied: bool| {
        let json = format!(
            r#"{{"model_type":"perception_lm","projector_pooling_ratio":2,"vision_use_cls_token":{},
                "text_config":{{"vocab_size":128256,"max_position_embeddings":11520,"rms_norm_eps":1e-5,
                "rope_theta":500000.0,"tie_word_embeddings":{tied},{text}}},
                "vision_config":{{"architecture":"{arch}","model_args":{{"embed_dim":{width},"depth":{depth},
                "img_size":[448,448],"ref_feat_shape":[32,32],"global_pool":"","init_values":0.1,
                "use_post_transformer_norm":false}}}}}}"#,
            arch.contains("large"),
        );
        Config::from_json(json.as_bytes(), "config.json".as_ref()).unwrap()
    };
    let large = "vit_pe_core_large_patch14_336";
    let one = r#""hidden_size":2048,"intermediate_size":8192,"num_hidden_layers":16,
        "num_attention_heads":32,"num_key_value_heads":8,"head_dim":64"#;
    let three = r#""hidden_size":3072,"intermediate_size":8192,"num_hidden_layers":28,
        "num_attention_heads":24,"num_key_value_heads":8,"head_dim":128"#;
    let eight = r#""hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,
        "num_attention_heads":32,"num_key_value_heads":8,"head_dim":128"#;
    let gigantic = "vit_pe_core_gigantic_patch14_448";
    let parameters = |config: Config| config.num_parameters();
    assert_eq!(
        parameters(config(large, 1024, 23, one, true)),
        1_533_524_992
    );
    assert_eq!(
        parameters(config(large, 1024, 23, three, true)),
        3_516_753_920
    );
    assert_eq!(
        parameters(config(gigantic, 1536, 47, eight, false)),
        9_794_260_736
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn placeholders_equal_media_tokens_and_measured_sizes(
        sizes in prop::collection::vec((1u32..300, 1u32..300), 0..4),
        max_num_tiles in 1u32..5, vanilla in any::<bool>(),
    ) {
        let plm = load();
        let pictures = sizes.iter().map(|&(w, h)| {
            Image::from_rgb8(w, h, vec![90; (w * h * 3) as usize]).unwrap().into()
        });
        let conversation = Conversation::ask("Look.", pictures);
        let options = EncodeOptions {
            max_num_tiles: Some(max_num_tiles),
            vision_input_type: vanilla.then_some(VisionInputType::Vanilla),
            ..EncodeOptions::default()
        };
        let processor = plm.processor();
        let prompt = processor.encode(&conversation, &options).unwrap();
        let size = processor.measure(&conversation, &options).unwrap();
        prop_assert_eq!(size.prompt_tokens, prompt.token_ids.len());
        let per_tile = plm.config().tokens_per_tile();
        let expected: usize = prompt.media.iter().map(|m| m.tiles.len() * per_tile).sum();
        let image = processor.image_token_id();
        let placeholders = prompt.token_ids.iter().filter(|&&id| id == image).count();
        prop_assert_eq!(placeholders, expected);
        prop_assert_eq!(prompt.media.len(), sizes.len());
    }
}
