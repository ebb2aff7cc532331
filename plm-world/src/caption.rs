//! Dense captions of pictures and of single tiles.

use crate::mention::Mention;
use crate::{Quarter, Scene, Thing};

/// Everything in the picture, quarter by quarter in the order of the tiles, in each row by row.
///
/// The grammar is fixed: `top left: small red circle in row 1 column 2, blue digit 7 in row 2
/// column 1. top right: nothing. bottom left: ...`. A word stands in the column of its first cell.
#[must_use]
pub fn caption(scene: &Scene) -> String {
    caption_of(scene, Quarter::ALL)
}

/// The same with the quarters in another order.
pub(crate) fn caption_of(scene: &Scene, quarters: [Quarter; 4]) -> String {
    let quarters = quarters.map(|quarter| {
        let things: Vec<String> = scene.in_quarter(quarter).map(with_place).collect();
        let things = if things.is_empty() {
            "nothing".to_owned()
        } else {
            things.join(", ")
        };
        format!("{}: {things}.", quarter.name())
    });
    quarters.join(" ")
}

/// What is in every cell of a picture of one tile, row by row, so that words come in the order of
/// image tokens: `small red circle, nothing. blue word cat.` A word fills a row.
#[must_use]
pub fn caption_cells(scene: &Scene) -> String {
    let rows = (0..scene.grid).map(|row| {
        let begins = |column: &usize| match scene.at(row, *column) {
            Some(thing) => thing.column == *column,
            None => true,
        };
        let cells = (0..scene.grid).filter(begins);
        let cells = cells.map(|column| match scene.at(row, column) {
            Some(thing) => Mention::full(thing).one(),
            None => "nothing".to_owned(),
        });
        cells.collect::<Vec<_>>().join(", ") + "."
    });
    rows.collect::<Vec<_>>().join(" ")
}

/// `small red circle in row 1 column 2`.
pub(crate) fn with_place(thing: &Thing) -> String {
    let thing_text = Mention::full(thing).one();
    format!("{thing_text} in {}", row_and_column(thing))
}

/// `row 2 column 3`, counted from 1.
pub(crate) fn row_and_column(thing: &Thing) -> String {
    cell_name(thing.row, thing.column)
}

/// The same of a cell, whose row and column are counted from 0.
pub(crate) fn cell_name(row: usize, column: usize) -> String {
    format!("row {} column {}", row + 1, column + 1)
}
