//! Boxes of a video's frames in a data set's form.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{PixelBox, RegionFault};
use crate::error::Result;

/// Reads boxes of frames from the form of Meta's data sets (`bbox_map`): `{"0": [10, 20, 50, 80],
/// "1": null}`, corners in pixels by the numbers of the video's frames.
///
/// A frame with `null` has no box.
///
/// # Errors
/// [`RegionFault::FrameBoxes`], which names the entry, in [`Error::Region`](crate::Error::Region).
pub fn frame_boxes_from_json(json: &Value) -> Result<BTreeMap<usize, PixelBox>> {
    let fault = |what: String| RegionFault::FrameBoxes { what };
    let entries = json
        .as_object()
        .ok_or_else(|| fault("this must be an object, `{\"0\": [x1, y1, x2, y2]}`".to_owned()))?;
    let mut boxes = BTreeMap::new();
    for (frame, corners) in entries {
        let index = frame
            .parse()
            .map_err(|_| fault(format!("{frame:?} is not a frame number")))?;
        if corners.is_null() {
            continue;
        }
        let numbers = corners.as_array().into_iter().flatten();
        let numbers: Option<Vec<f64>> = numbers.map(Value::as_f64).collect();
        let numbers = numbers.and_then(|numbers| <[f64; 4]>::try_from(numbers).ok());
        let numbers = numbers
            .ok_or_else(|| fault(format!("frame {index} must have four numbers, or null")))?;
        let region = PixelBox::from_xyxy(numbers)
            .map_err(|error| fault(format!("frame {index}: {error}")))?;
        boxes.insert(index, region);
    }
    Ok(boxes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_have_a_box_or_none() {
        let boxes = frame_boxes_from_json(&json!({"7": [1, 2, 3.5, 4], "3": null})).unwrap();
        let expected = PixelBox::from_xyxy([1.0, 2.0, 3.5, 4.0]).unwrap();
        assert_eq!(boxes, BTreeMap::from([(7, expected)]));
    }

    #[test]
    fn a_mistake_is_named() {
        for (json, expected) in [
            (
                json!([]),
                "this must be an object, `{\"0\": [x1, y1, x2, y2]}`",
            ),
            (json!({"a": null}), "\"a\" is not a frame number"),
            (json!({"-1": null}), "\"-1\" is not a frame number"),
            (json!({"2": 5}), "frame 2 must have four numbers, or null"),
            (
                json!({"2": [1, 2, 3]}),
                "frame 2 must have four numbers, or null",
            ),
            (
                json!({"2": [1, 2, 3, "4"]}),
                "frame 2 must have four numbers, or null",
            ),
            (
                json!({"2": [5, 2, 3, 4]}),
                "frame 2: the box [5.0, 2.0, 3.0, 4.0] ends before it begins; give left, top, \
                 right, bottom, or a size of 0 or above",
            ),
        ] {
            let error = frame_boxes_from_json(&json).unwrap_err().to_string();
            assert_eq!(error, format!("boxes of frames: {expected}"));
        }
    }
}
