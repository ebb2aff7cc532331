use std::path::PathBuf;

use plm::Image;
use plm::regions::{Grounding, Parsed, PixelBox};
use serde::Serialize;

use super::asking::{Asked, AskedReport, told};
use crate::args::GroundArgs;
use crate::error::{Error, one_line};
use crate::new_file::NewFile;
use crate::output;
use crate::request::{ModelRequest, check_videos, decoding, encoding};

#[derive(Debug, Serialize)]
struct Report<'a> {
    understood: bool,
    boxes: Vec<[f64; 4]>,
    misread: Vec<String>,
    size_wh: [u32; 2],
    out: Option<String>,
    #[serde(flatten)]
    asked: AskedReport<'a>,
}

pub(crate) fn run(args: GroundArgs) -> Result<(), Error> {
    check_videos(&[], &args.tiles)?;
    if let Some(out) = &args.out
        && !out
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("png"))
    {
        return Err(Error::usage(
            "--out writes a PNG file; give a name that ends in .png",
        ));
    }
    let decoding = decoding(args.decoding)?;
    let model = ModelRequest::check(args.run, encoding(&args.tiles, false))?;

    let question = Grounding {
        image: Image::open(&args.image)?,
        phrase: args.phrase,
        format: args.boxes.format(),
    };
    let file = args.out.as_deref().map(NewFile::create).transpose()?;
    let asked = Asked::of(&model, &question.conversation(), &decoding)?;
    let parsed = question.read(&asked.answer.text);
    let out = match (file, annotated(&question.image, &parsed.found)) {
        (Some(file), Some(picture)) => {
            file.write_bytes(&picture.to_png()?)?;
            args.out
        }
        _ => None,
    };
    model.source.note_embedded_model();
    if args.json {
        return output::json(&Report {
            understood: !parsed.found.is_empty(),
            boxes: parsed.found.iter().map(PixelBox::xyxy).collect(),
            misread: parsed.misread.iter().map(|m| one_line(m)).collect(),
            size_wh: question.image.size_wh().into(),
            out: out.map(|path: PathBuf| path.display().to_string()),
            asked: asked.report(),
        });
    }
    output::piece(&table(&parsed))
}

/// The picture with its boxes, if there are any.
fn annotated(picture: &Image, boxes: &[PixelBox]) -> Option<Image> {
    let drawn = |picture: Image, region| picture.with_box(region);
    (!boxes.is_empty()).then(|| boxes.iter().fold(picture.clone(), drawn))
}

fn table(parsed: &Parsed<PixelBox>) -> String {
    let boxes = parsed.found.iter().map(|region| {
        let [left, top, right, bottom] = region.xyxy();
        format!("box: {left:.1},{top:.1},{right:.1},{bottom:.1}")
    });
    told(Some(&parsed.text), boxes, &parsed.misread)
}

#[cfg(test)]
mod tests {
    use plm::regions::BoxFormat;

    use super::*;

    #[test]
    fn every_box_is_drawn_and_told() {
        let picture = Image::from_rgb8(40, 20, vec![0; 2400]).unwrap();
        let parsed = BoxFormat::default().read("[000,000,500,500] [1] [500,500,750,750]", (40, 20));
        assert_eq!(
            table(&parsed),
            "[000,000,500,500] [1] [500,500,750,750]\nbox: 0.0,0.0,20.0,10.0\nbox: 20.0,10.0,30.0,15.0\nnot understood: \"[1]\" has 1 entries instead of 4\n"
        );
        let [first, second] = parsed.found[..] else {
            panic!("not two boxes: {parsed:?}");
        };
        let expected = picture.with_box(&first).with_box(&second);
        assert_eq!(annotated(&picture, &parsed.found), Some(expected));
        assert_eq!(annotated(&picture, &[]), None);
    }
}
