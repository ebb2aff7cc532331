use super::*;

fn read(processor: &str, image: &str, video: &str) -> Result<ProcessorConfig> {
    let mut files = ProcessorFiles::new("checkpoint", b"{}".as_slice());
    files.processor_config = Some(processor.as_bytes().into());
    files.preprocessor_config = Some(image.as_bytes().into());
    files.video_preprocessor_config = Some(video.as_bytes().into());
    ProcessorConfig::from_files(&files)
}

const PROCESSOR: &str = r#"{"patch_size": 14, "pooling_ratio": 2}"#;

fn message(processor: &str, image: &str) -> String {
    read(processor, image, "{}").unwrap_err().to_string()
}

#[test]
fn absent_fields_take_the_released_values() {
    let config = read(PROCESSOR, "{}", "{}").unwrap();
    assert_eq!(
        (config.tile_size, config.frame_size, config.max_num_tiles),
        (448, 448, 36)
    );
    assert_eq!(config.vision_input_type, VisionInputType::ThumbTile);
    assert_eq!(config.tokens_per_tile(), 256);
    assert_eq!(config.image_normalization.mean, [127.5; 3]);
}

#[test]
fn sections_of_the_processor_file_win() {
    let nested = r#"{"patch_size": 14, "pooling_ratio": 2,
        "image_processor": {"tile_size": 112},
        "video_processor": {"size": {"height": 56, "width": 56}}}"#;
    let config = read(nested, r#"{"tile_size": 448, "max_num_tiles": 9}"#, "{}").unwrap();
    assert_eq!((config.tile_size, config.frame_size), (112, 56));
    assert_eq!(config.max_num_tiles, 36);
    assert_eq!(
        (config.tokens_per_tile(), config.tokens_per_frame()),
        (16, 4)
    );
}

#[test]
fn a_checkpoint_without_processor_file_is_not_complete() {
    let files = ProcessorFiles::new("checkpoint", b"{}".as_slice());
    let message = ProcessorConfig::from_files(&files).unwrap_err().to_string();
    assert_eq!(
        message,
        "checkpoint/processor_config.json is missing; the checkpoint is not complete"
    );
}

#[test]
fn what_does_not_fill_a_pool_is_lost() {
    let config = read(PROCESSOR, r#"{"tile_size": 98}"#, "{}").unwrap();
    assert_eq!(config.tokens_per_tile(), 9);
}

#[test]
fn absurd_sizes_are_refused_by_name() {
    for (processor, image, expected) in [
        (
            PROCESSOR,
            r#"{"tile_size": 0}"#,
            "`tile_size` is 0 in checkpoint/preprocessor_config.json, but must be between 1 and 4096",
        ),
        (
            PROCESSOR,
            r#"{"tile_size": -3}"#,
            "`tile_size` is -3 in checkpoint/preprocessor_config.json, but must be a whole number",
        ),
        (
            PROCESSOR,
            r#"{"tile_size": 99999999999}"#,
            "`tile_size` is 99999999999 in checkpoint/preprocessor_config.json, but must be a whole number",
        ),
        (
            PROCESSOR,
            r#"{"max_num_tiles": 0}"#,
            "`max_num_tiles` is 0 in checkpoint/preprocessor_config.json, but must be between 1 and 1024",
        ),
        (
            PROCESSOR,
            r#"{"max_num_tiles": 100, "tile_size": 4096}"#,
            "`max_num_tiles` is 100 in checkpoint/preprocessor_config.json, but must be between 1 and 20",
        ),
        (
            PROCESSOR,
            r#"{"do_resize": false}"#,
            "`do_resize` is false in checkpoint/preprocessor_config.json, but must be true",
        ),
        (
            PROCESSOR,
            r#"{"do_center_crop": true}"#,
            "`do_center_crop` is true in checkpoint/preprocessor_config.json, but must be false",
        ),
        (
            PROCESSOR,
            r#"{"resample": 2}"#,
            "`resample` is 2 in checkpoint/preprocessor_config.json, but must be 3 (bicubic)",
        ),
        (
            PROCESSOR,
            r#"{"image_std": [0.5, 0, 0.5]}"#,
            "`image_std` is [0.5, 0.0, 0.5] in checkpoint/preprocessor_config.json, but must be above 0",
        ),
        (
            PROCESSOR,
            r#"{"size": {"height": 4, "width": 5}}"#,
            "`size` is {\"height\":4,\"width\":5} in checkpoint/preprocessor_config.json, but must be an object with equal `height` and `width`",
        ),
        (
            r#"{"patch_size": 14, "pooling_ratio": 0}"#,
            "{}",
            "`pooling_ratio` is 0 in checkpoint/processor_config.json, but must be between 1 and 32",
        ),
        (
            r#"{"patch_size": 0, "pooling_ratio": 2}"#,
            "{}",
            "`patch_size` is 0 in checkpoint/processor_config.json, but must be between 1 and 448",
        ),
        (
            r#"{"patch_size": 14}"#,
            "{}",
            "checkpoint/processor_config.json has no `pooling_ratio`",
        ),
        (
            r#"{"patch_size": 14, "pooling_ratio": 2, "image_processor": 3}"#,
            "{}",
            "`image_processor` is 3 in checkpoint/processor_config.json, but must be an object",
        ),
    ] {
        assert_eq!(message(processor, image), expected);
    }
    assert!(
        message("[", "{}").starts_with("checkpoint/processor_config.json cannot be understood: ")
    );
}
