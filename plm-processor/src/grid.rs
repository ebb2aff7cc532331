//! Which grid of tiles a picture is squashed to.

use std::collections::HashMap;

/// How many tiles wide and high the canvas of a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Tiles from left to right.
    pub columns: u32,
    /// Tiles from top to bottom.
    pub rows: u32,
}

/// All grids of one aspect ratio.
struct AspectGroup {
    aspect: f64,
    grids: Vec<Grid>,
}

impl Grid {
    /// The grid of a single tile.
    pub const ONE: Grid = Grid {
        columns: 1,
        rows: 1,
    };

    /// Chooses the grid for a picture of `width` x `height` pixels, at most `max_num_tiles` tiles
    /// of `tile_size` pixels.
    ///
    /// Where the picture fits into a canvas without shrinking, the canvas that enlarges it most
    /// wins, and among equals the last candidate. Otherwise the grid comes from the picture's
    /// aspect ratio alone; wide and tall pictures follow different rules there, as in the
    /// reference: a 4000x3000 picture gets 4x3 tiles and a 3000x4000 picture 4x5.
    #[must_use]
    pub fn choose(width: u32, height: u32, tile_size: u32, max_num_tiles: u32) -> Grid {
        if max_num_tiles <= 1 {
            return Grid::ONE;
        }
        let groups = candidates(max_num_tiles);
        let (width, height) = (f64::from(width.max(1)), f64::from(height.max(1)));
        best_enlargement(&groups, width, height, f64::from(tile_size))
            .unwrap_or_else(|| nearest_aspect(&groups, width / height))
    }

    /// Tiles in the grid.
    #[must_use]
    pub fn len(self) -> usize {
        self.columns as usize * self.rows as usize
    }

    /// Whether the grid has no tile; never true for a chosen grid.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.columns, self.rows)
    }
}

/// Every factorisation of every tile count from `max_num_tiles` down to 1, grouped by aspect
/// ratio. Both the order of the groups and the order inside a group decide ties.
fn candidates(max_num_tiles: u32) -> Vec<AspectGroup> {
    let mut groups: Vec<AspectGroup> = Vec::new();
    let mut group_of_aspect: HashMap<u64, usize> = HashMap::new();
    for count in (1..=max_num_tiles).rev() {
        for columns in (1..=count).filter(|columns| count % columns == 0) {
            let rows = count / columns;
            let aspect = f64::from(columns) / f64::from(rows);
            let group = *group_of_aspect.entry(aspect.to_bits()).or_insert_with(|| {
                groups.push(AspectGroup {
                    aspect,
                    grids: Vec::new(),
                });
                groups.len() - 1
            });
            groups[group].grids.push(Grid { columns, rows });
        }
    }
    groups
}

fn best_enlargement(
    groups: &[AspectGroup],
    width: f64,
    height: f64,
    tile_size: f64,
) -> Option<Grid> {
    let aspect = width / height;
    let mut best: Option<(Grid, f64)> = None;
    for &grid in groups.iter().flat_map(|group| &group.grids) {
        let canvas_width = f64::from(grid.columns) * tile_size;
        let canvas_height = f64::from(grid.rows) * tile_size;
        if canvas_width < width || canvas_height < height {
            continue;
        }
        let factor = (canvas_width / width).min(canvas_height / height);
        // The side that is compared is the one that gets rounded.
        let side = if aspect > 1.0 {
            (factor * width / aspect).floor()
        } else if aspect == 1.0 {
            factor * height
        } else {
            (factor * height * aspect).floor()
        };
        // `>=`: later candidates win ties.
        if best.is_none_or(|(_, best_side)| side >= best_side) {
            best = Some((grid, side));
        }
    }
    best.map(|(grid, _)| grid)
}

fn nearest_aspect(groups: &[AspectGroup], aspect: f64) -> Grid {
    let group = if aspect >= 1.0 {
        groups
            .iter()
            .filter(|group| group.aspect <= aspect)
            .max_by(|a, b| a.aspect.total_cmp(&b.aspect))
    } else {
        let distance = |group: &AspectGroup| (1.0 / group.aspect - 1.0 / aspect).abs();
        groups
            .iter()
            .filter(|group| group.aspect > aspect)
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
    };
    // Inside a group the tile count only falls, so the first grid is the largest.
    group
        .and_then(|group| group.grids.first())
        .copied()
        .unwrap_or(Grid::ONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_pixel_is_blown_up_to_the_full_grid() {
        assert_eq!(
            Grid::choose(1, 1, 448, 36),
            Grid {
                columns: 6,
                rows: 6
            }
        );
    }

    #[test]
    fn wide_and_tall_pictures_are_treated_differently() {
        assert_eq!(
            Grid::choose(4000, 3000, 448, 36),
            Grid {
                columns: 4,
                rows: 3
            }
        );
        assert_eq!(
            Grid::choose(3000, 4000, 448, 36),
            Grid {
                columns: 4,
                rows: 5
            }
        );
    }

    #[test]
    fn one_tile_at_most_gives_one_tile() {
        assert_eq!(Grid::choose(1920, 1147, 448, 1), Grid::ONE);
        assert_eq!(Grid::choose(1920, 1147, 448, 0), Grid::ONE);
    }

    proptest! {
        #[test]
        fn a_grid_has_between_one_and_the_maximum_of_tiles(
            width in 1u32..70_000, height in 1u32..70_000, tile in 1u32..1000, max in 1u32..100
        ) {
            let grid = Grid::choose(width, height, tile, max);
            prop_assert!((1..=max as usize).contains(&grid.len()));
        }

        #[test]
        fn scaling_picture_and_tile_together_keeps_the_grid(
            width in 1u32..3000, height in 1u32..3000, shift in 1u32..5
        ) {
            // Powers of two keep every product exact, so that only the rounding down of the
            // compared side could differ; pictures that do not fit have none.
            let factor = 1 << shift;
            prop_assume!(width > 36 * 16 || height > 36 * 16);
            prop_assert_eq!(
                Grid::choose(width, height, 16, 36),
                Grid::choose(width * factor, height * factor, 16 * factor, 36)
            );
        }

        #[test]
        fn a_picture_that_fits_somewhere_is_never_shrunk(
            width in 1u32..2000, height in 1u32..2000
        ) {
            let fits = candidates(36).iter().flat_map(|g| &g.grids).any(|g| {
                g.columns * 448 >= width && g.rows * 448 >= height
            });
            let grid = Grid::choose(width, height, 448, 36);
            if fits {
                prop_assert!(grid.columns * 448 >= width && grid.rows * 448 >= height);
            }
        }
    }
}
