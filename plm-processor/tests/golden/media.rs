use plm_processor::Image;

use crate::{golden, is_exact, json, numbers, reference_image, rows, sha256, text};

#[test]
fn every_picture_decodes_as_in_the_reference() {
    let Some(golden) = golden() else { return };
    let media = json(golden.join("media.json"));
    for row in rows(&media, "images") {
        let file = text(row, "file");
        let image = Image::open(golden.join("media").join(file)).expect(file);
        assert_eq!(
            vec![image.width(), image.height()],
            numbers(&row["size_wh"]),
            "{file}"
        );
        if is_exact(file) {
            assert_eq!(sha256(image.rgb()), text(row, "rgb_sha256"), "{file}");
            continue;
        }
        let reference = reference_image(&golden, file);
        assert_eq!(sha256(reference.rgb()), text(row, "rgb_sha256"), "{file}");
        let difference = mean_difference(&image, &reference);
        assert!(difference <= 1.0, "{file} is {difference} levels off");
    }
}

#[test]
fn bytes_and_path_give_the_same_picture() {
    let Some(golden) = golden() else { return };
    let path = golden.join("media/exif6.jpg");
    let bytes = std::fs::read(&path).expect("readable");
    assert_eq!(
        Image::from_bytes(&bytes).expect("decodes"),
        Image::open(&path).expect("decodes")
    );
}

fn mean_difference(a: &Image, b: &Image) -> f64 {
    assert_eq!(a.size_wh(), b.size_wh());
    let sum: u64 = a
        .rgb()
        .iter()
        .zip(b.rgb())
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    sum as f64 / a.rgb().len() as f64
}
